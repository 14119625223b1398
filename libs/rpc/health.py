"""The standard health service (grpc.health.v1) on Trio.

Owns: which service is serving, and who watches it. Does not own: why. Protocol:
grpc/doc/health-checking.md.
Rules: 1 the empty name is the whole server; 2 Check of an unknown name is NOT_FOUND, Watch answers
SERVICE_UNKNOWN and goes on; 3 a watcher that is slow gets the newest state, not every one.
"""

from typing import TYPE_CHECKING

import trio
from grpclib.health.v1.health_grpc import HealthBase
from grpclib.health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from libs.model.errors import NotFound, Reason

if TYPE_CHECKING:
    from grpclib.server import Stream

_SERVING = HealthCheckResponse.SERVING
_NOT_SERVING = HealthCheckResponse.NOT_SERVING
_UNKNOWN = HealthCheckResponse.SERVICE_UNKNOWN


class Health(HealthBase):
    """Tells what `set_serving` was told. A server that has heard nothing is not serving."""

    def __init__(self) -> None:
        self._serving = {"": False}
        self._changed = trio.Event()

    def set_serving(self, serving: bool, service: str = "") -> None:  # noqa: FBT001 - the name says it
        """Sets the state of `service`, of the whole server when it is empty."""
        if self._serving.get(service) is not serving:
            self._serving[service] = serving
            self._changed.set()
            self._changed = trio.Event()

    async def Check(self, stream: "Stream[HealthCheckRequest, HealthCheckResponse]") -> None:  # noqa: N802
        request = await stream.recv_message()
        assert request is not None
        state = self._state(request.service)
        if state == _UNKNOWN:
            raise NotFound(f"there is no service {request.service!r}", reason=Reason.UNSPECIFIED)
        await stream.send_message(HealthCheckResponse(status=state))

    async def Watch(self, stream: "Stream[HealthCheckRequest, HealthCheckResponse]") -> None:  # noqa: N802
        request = await stream.recv_message()
        assert request is not None
        told = None
        while True:
            changed = self._changed
            state = self._state(request.service)
            if state != told:
                await stream.send_message(HealthCheckResponse(status=state))
                told = state
            else:
                await changed.wait()

    def _state(self, service: str) -> "HealthCheckResponse.ServingStatus.ValueType":
        serving = self._serving.get(service)
        if serving is None:
            return _UNKNOWN
        return _SERVING if serving else _NOT_SERVING
