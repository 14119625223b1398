"""Classic consumer groups: a pure state machine per group, its coordinator, committed offsets, the door."""
