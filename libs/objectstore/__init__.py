"""The object store: one port, its adapters (S3, directory, memory) and wrappers. Layer 3."""
