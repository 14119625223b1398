"""Where a partition's requests go, and what happens when it moves meanwhile."""
