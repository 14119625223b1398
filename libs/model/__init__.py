"""The words of the platform: ids, errors and limits. Layer 0: the standard library only."""
