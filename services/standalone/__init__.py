"""The three data services in one process on embedded stores: the quickstart, and what a laptop runs."""
