"""What the gateway tells about itself while it works.

Owns: the names of what is counted. Does not own: how it is exposed.
"""

from typing import Protocol

from libs.telemetry.metrics import Metrics


class Recorder(Protocol):
    def request_done(self, api: str, *, seconds: float, request_bytes: int, response_bytes: int) -> None: ...

    def error_answered(self, api: str, code: str) -> None:
        """One error code inside an answer."""
        ...

    def connection_refused(self, reason: str) -> None: ...

    def connection_dropped(self, reason: str) -> None:
        """Closed by the gateway; `reason` is one of a few words."""
        ...


class SilentRecorder:
    """Records nothing."""

    def request_done(self, api: str, *, seconds: float, request_bytes: int, response_bytes: int) -> None:
        pass

    def error_answered(self, api: str, code: str) -> None:
        pass

    def connection_refused(self, reason: str) -> None:
        pass

    def connection_dropped(self, reason: str) -> None:
        pass


class MetricsRecorder:
    """Counts into the process's metrics."""

    def __init__(self, metrics: Metrics) -> None:
        self._requests = metrics.counter("kafscale_requests", "Kafka requests answered")
        self._seconds = metrics.histogram(
            "kafscale_request_seconds", "from a request's arrival to its answer being sent"
        )
        self._received = metrics.counter("kafscale_received_bytes", "request bytes received")
        self._sent = metrics.counter("kafscale_sent_bytes", "answer bytes sent")
        self._errors = metrics.counter("kafscale_errors", "error codes answered")
        self._refused = metrics.counter("kafscale_connections_refused", "connections not accepted")
        self._dropped = metrics.counter("kafscale_connections_dropped", "connections closed by the gateway")

    def request_done(self, api: str, *, seconds: float, request_bytes: int, response_bytes: int) -> None:
        labels = {"api": api}
        self._requests.add(1, labels)
        self._seconds.record(seconds, labels)
        self._received.add(request_bytes, labels)
        self._sent.add(response_bytes, labels)

    def error_answered(self, api: str, code: str) -> None:
        self._errors.add(1, {"api": api, "code": code})

    def connection_refused(self, reason: str) -> None:
        self._refused.add(1, {"reason": reason})

    def connection_dropped(self, reason: str) -> None:
        self._dropped.add(1, {"reason": reason})
