"""The partition owner: appends to and reads from the object store, for the partitions that it is assigned."""
