"""Verifies a bucket, and rebuilds the metadata store from it: `python -m tools.bucket --help`."""
