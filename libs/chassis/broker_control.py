"""BrokerControl as every process answers it; a partition owner adds what only it can do.

Owns: GetStatus without partitions, StreamMetrics, and the plain refusal of what this process has not.
"""

from collections.abc import Callable, Iterable

import grpclib.server
import trio

from libs.concurrency.clock import Clock
from libs.model.errors import Invalid
from libs.telemetry.metrics import Sample
from proto.control import broker_pb2 as control
from proto.control.broker_grpc import BrokerControlBase

VERSION = "0.1.0"
METRICS_INTERVAL_SECONDS_DEFAULT = 5

StatusStream = grpclib.server.Stream[control.GetStatusRequest, control.GetStatusResponse]
DrainStream = grpclib.server.Stream[control.DrainPartitionsRequest, control.DrainPartitionsResponse]
FlushStream = grpclib.server.Stream[control.TriggerFlushRequest, control.TriggerFlushResponse]
MetricsStream = grpclib.server.Stream[control.StreamMetricsRequest, control.MetricsSample]


class ProcessControl(BrokerControlBase):
    """For a process that owns no partitions. `ready`, `draining` and `samples` are read when asked."""

    def __init__(
        self,
        *,
        service: str,
        instance: str,
        ready: Callable[[], bool],
        draining: Callable[[], bool],
        samples: Callable[[], Iterable[Sample]],
        clock: Clock,
    ) -> None:
        self._service = service
        self._instance = instance
        self._ready = ready
        self._draining = draining
        self._samples = samples
        self._clock = clock

    def status(self) -> control.GetStatusResponse:
        """What GetStatus answers; an owner fills in the rest."""
        return control.GetStatusResponse(
            broker_id=self._instance,
            version=VERSION,
            service=self._service,
            ready=self._ready(),
            draining=self._draining(),
        )

    async def GetStatus(self, stream: StatusStream) -> None:  # noqa: N802 - the RPC's name
        await stream.recv_message()
        await stream.send_message(self.status())

    async def DrainPartitions(self, stream: DrainStream) -> None:  # noqa: N802
        await stream.recv_message()
        raise Invalid(f"this {self._service} owns no partitions: send DrainPartitions to a partition owner")

    async def TriggerFlush(self, stream: FlushStream) -> None:  # noqa: N802
        await stream.recv_message()
        raise Invalid(f"this {self._service} buffers no records: send TriggerFlush to a partition owner")

    async def StreamMetrics(self, stream: MetricsStream) -> None:  # noqa: N802
        request = await stream.recv_message()
        asked = request.interval_seconds if request is not None else 0
        while True:
            metrics = [
                control.Metric(name=each.name, labels=dict(each.labels), value=each.value)
                for each in self._samples()
            ]
            await stream.send_message(
                control.MetricsSample(timestamp_ms=self._clock.now_ms(), metrics=metrics)
            )
            await trio.sleep(asked or METRICS_INTERVAL_SECONDS_DEFAULT)
