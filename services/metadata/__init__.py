"""The metadata service: fronts etcd for topics, assignments, groups and producer ids."""
