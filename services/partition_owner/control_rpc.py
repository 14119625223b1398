"""kafscale.control.BrokerControl of an owner process, on its control port.

Owns: messages <-> OwnerControl. Does not own: the meaning (control.py), the port (libs/chassis).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import grpclib.server
import trio

from libs.concurrency.clock import Clock
from libs.telemetry.metrics import Sample
from proto.control import broker_pb2 as wire
from proto.control.broker_grpc import BrokerControlBase
from services.partition_owner.control import DRAIN_SECONDS_DEFAULT, OwnerControl, PartitionStatus

_METRICS_SECONDS_DEFAULT = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessIdentity:
    broker_id: str
    version: str
    service: str


class OwnerControlRpc(BrokerControlBase):
    """`samples` gives the process's metrics; `ready` and `draining` are the process's."""

    def __init__(
        self,
        control: OwnerControl,
        *,
        process: ProcessIdentity,
        ready: Callable[[], bool],
        draining: Callable[[], bool],
        buffered_bytes: Callable[[], int],
        samples: Callable[[], Iterable[Sample]],
        clock: Clock,
    ) -> None:
        self._control = control
        self._process = process
        self._ready = ready
        self._draining = draining
        self._buffered_bytes = buffered_bytes
        self._samples = samples
        self._clock = clock

    async def GetStatus(  # noqa: N802 - the proto's name
        self, stream: grpclib.server.Stream[wire.GetStatusRequest, wire.GetStatusResponse]
    ) -> None:
        await stream.recv_message()
        session = self._control.session
        response = wire.GetStatusResponse(
            broker_id=self._process.broker_id,
            version=self._process.version,
            service=self._process.service,
            session="" if session is None else str(session),
            ready=self._ready(),
            draining=self._draining(),
            partitions=[_status(each) for each in self._control.partitions()],
            buffered_bytes=self._buffered_bytes(),
        )
        await stream.send_message(response)

    async def DrainPartitions(  # noqa: N802 - the proto's name
        self, stream: grpclib.server.Stream[wire.DrainPartitionsRequest, wire.DrainPartitionsResponse]
    ) -> None:
        request = await stream.recv_message()
        assert request is not None
        control = self._control
        result = await control.drain(
            [control.find(each.topic, each.partition) for each in request.partitions],
            all_assigned=request.all_assigned,
            reason=request.reason,
            deadline_seconds=request.deadline_seconds or DRAIN_SECONDS_DEFAULT,
        )
        response = wire.DrainPartitionsResponse()
        for tp in result.drained:
            response.drained.add(topic=control.name(tp), partition=tp.partition)
        for tp in result.pending:
            response.pending.add(topic=control.name(tp), partition=tp.partition)
        await stream.send_message(response)

    async def TriggerFlush(  # noqa: N802 - the proto's name
        self, stream: grpclib.server.Stream[wire.TriggerFlushRequest, wire.TriggerFlushResponse]
    ) -> None:
        request = await stream.recv_message()
        assert request is not None
        control = self._control
        flushed = await control.flush(
            [control.find(each.topic, each.partition) for each in request.partitions]
        )
        response = wire.TriggerFlushResponse()
        for tp in flushed:
            response.flushed.add(topic=control.name(tp), partition=tp.partition)
        await stream.send_message(response)

    async def StreamMetrics(  # noqa: N802 - the proto's name
        self, stream: grpclib.server.Stream[wire.StreamMetricsRequest, wire.MetricsSample]
    ) -> None:
        request = await stream.recv_message()
        assert request is not None
        while True:
            sample = wire.MetricsSample(timestamp_ms=self._clock.now_ms())
            for each in self._samples():
                sample.metrics.add(name=each.name, labels=dict(each.labels), value=each.value)
            await stream.send_message(sample)
            await trio.sleep(request.interval_seconds or _METRICS_SECONDS_DEFAULT)


def _status(status: PartitionStatus) -> wire.PartitionStatus:
    return wire.PartitionStatus(
        topic=status.topic,
        topic_id=str(status.tp.topic_id),
        partition=status.tp.partition,
        leader_epoch=status.leader_epoch,
        state=status.phase.value,
        log_start_offset=status.log_start_offset,
        high_watermark=status.high_watermark,
        in_flight_offset=status.in_flight_offset,
        assigned_offset=status.assigned_offset,
    )
