"""The whole platform on this machine: etcd, MinIO and each service as processes of their own."""
