"""The key-value port of the metadata service and its adapters: memory, SQLite, etcd."""
