"""The container images: built by buildah from the Containerfile, and checked by running them."""
