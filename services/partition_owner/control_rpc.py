"""kafscale.control.BrokerControl of an owner process, on its control port.

Owns: messages <-> OwnerControl. Does not own: the meaning (control.py), what every process answers
(libs/chassis), the port.
"""

from collections.abc import Callable, Iterable

from libs.chassis.broker_control import DrainStream, FlushStream, ProcessControl
from libs.concurrency.clock import Clock
from libs.telemetry.metrics import Sample
from proto.control import broker_pb2 as wire
from services.partition_owner.control import DRAIN_SECONDS_DEFAULT, OwnerControl, PartitionStatus


class OwnerControlRpc(ProcessControl):
    """What every process answers, and the partitions."""

    def __init__(
        self,
        control: OwnerControl,
        *,
        service: str,
        instance: str,
        ready: Callable[[], bool],
        draining: Callable[[], bool],
        samples: Callable[[], Iterable[Sample]],
        clock: Clock,
    ) -> None:
        super().__init__(
            service=service, instance=instance, ready=ready, draining=draining, samples=samples, clock=clock
        )
        self._control = control

    def status(self) -> wire.GetStatusResponse:
        response = super().status()
        session = self._control.session
        response.session = "" if session is None else str(session)
        response.partitions.extend(_status(each) for each in self._control.partitions())
        response.buffered_bytes = self._control.buffered_bytes
        return response

    async def DrainPartitions(self, stream: DrainStream) -> None:  # noqa: N802 - the RPC's name
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

    async def TriggerFlush(self, stream: FlushStream) -> None:  # noqa: N802 - the RPC's name
        request = await stream.recv_message()
        assert request is not None
        control = self._control
        asked = [control.find(each.topic, each.partition) for each in request.partitions]
        response = wire.TriggerFlushResponse()
        for tp in await control.flush(asked):
            response.flushed.add(topic=control.name(tp), partition=tp.partition)
        await stream.send_message(response)


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
