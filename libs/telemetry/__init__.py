"""Logs, metrics and spans: the only place that knows structlog's set-up and opentelemetry."""
