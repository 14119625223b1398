"""One Kafka API a file; each declares beside its code which versions it serves."""
