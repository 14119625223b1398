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
        self._requests = metrics.tally("kafscale_requests", "Kafka requests answered", "api")
        self._received = metrics.tally("kafscale_received_bytes", "request bytes received", "api")
        self._sent = metrics.tally("kafscale_sent_bytes", "answer bytes sent", "api")
        self._errors = metrics.tally("kafscale_errors", "error codes answered", "api", "code")
        self._refused = metrics.tally("kafscale_connections_refused", "connections not accepted", "reason")
        self._dropped = metrics.tally(
            "kafscale_connections_dropped", "connections closed by the gateway", "reason"
        )
        self._seconds = metrics.histogram(
            "kafscale_request_seconds", "from a request's arrival to its answer being sent"
        )

    def request_done(self, api: str, *, seconds: float, request_bytes: int, response_bytes: int) -> None:
        self._requests.add(1, api)
        self._received.add(request_bytes, api)
        self._sent.add(response_bytes, api)
        self._seconds.record(seconds, {"api": api})

    def error_answered(self, api: str, code: str) -> None:
        self._errors.add(1, api, code)

    def connection_refused(self, reason: str) -> None:
        self._refused.add(1, reason)

    def connection_dropped(self, reason: str) -> None:
        self._dropped.add(1, reason)
