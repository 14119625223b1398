"""Objects of a KafscaleCluster, rendered from its spec alone. Pure."""
