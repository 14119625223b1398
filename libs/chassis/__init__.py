"""What every process does: configuration, logs, signals, the control port, readiness, drain."""
