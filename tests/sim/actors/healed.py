"""What the platform can do once all is well again: every partition takes a record, and gives all it has.

Owns: the state after healing. Does not own: healing (nemesis.py), reading (final.py), judging (checkers).
Rules: 1 it comes before the last change of retention: what was acknowledged is still to be there; 2 a topic
that goes meanwhile is left out: a request of the faulty times may land late; 3 nothing is read before
everybody has heard who owns what: whoever was cut off a moment ago may serve what it had then.
"""

from typing import Final

import trio
from kio.schema.errors import ErrorCode

from libs.model.ids import TopicPartition
from tests.sim.actors.client import Client
from tests.sim.actors.final import FinalReader, partitions_of, topics_there
from tests.sim.actors.kafka import Gone
from tests.sim.actors.producer import UNKNOWN, produce_request
from tests.sim.events import ProduceAcked, ProduceFailed, ProduceSent, ProduceUnknown
from tests.sim.history import HealedState
from tests.sim.world.world import World
from tests.support.records import Record, encode_batch

WRITE_SECONDS_MAX: Final = 120.0
HEARD_SECONDS: Final = 20.0
"""Longer than a lease and the longest pause before a watch is opened again, together."""


class LastWriter(Client):
    """Sends one record to a partition until it is acknowledged."""

    def __init__(self, world: World) -> None:
        super().__init__(world, "last")
        self._number = 0

    async def write(self, tp: TopicPartition, topic: str) -> str:
        """Why it was not acknowledged in time; '' where it was."""
        self._number += 1
        why = "nothing was answered"
        with trio.move_on_after(WRITE_SECONDS_MAX):
            while why:
                why = await self._try(tp, topic, f"{self.name}.{self._number}")
                if why:
                    await self.pause()
        return why

    async def _try(self, tp: TopicPartition, topic: str, value: str) -> str:
        now_ms = self.world.clock.now_ms()
        data = encode_batch([Record(None, value.encode(), now_ms)])
        history = self.world.history
        sent = ProduceSent(
            tp=tp,
            topic=topic,
            values=(value,),
            timestamp_ms=now_ms,
            size_bytes=len(data),
            producer_id=-1,
            producer_epoch=-1,
            base_sequence=-1,
            acks=-1,
        )
        connection = await self.connection()
        call = history.add(self.name, sent)
        try:
            answer = await connection.ask("produce", produce_request([(tp, data)], -1))
        except Gone as gone:
            history.add(self.name, ProduceUnknown(call=call, error=str(gone)))
            self.disconnect()
            return str(gone)
        ((part,),) = (told.partition_responses for told in answer.responses)
        name: str = part.error_code.name.upper()
        if part.error_code is ErrorCode.none:
            history.add(self.name, ProduceAcked(call=call, base_offset=part.base_offset))
            return ""
        if part.error_code in UNKNOWN:
            history.add(self.name, ProduceUnknown(call=call, error=name))
        else:
            history.add(self.name, ProduceFailed(call=call, error=name))
        return name


async def healed_state(world: World) -> HealedState:
    """To be called when all is well and nobody else produces."""
    writer, reader = LastWriter(world), FinalReader(world)
    written, reads = {}, {}
    for tp, name in _partitions(world).items():
        written[tp] = await writer.write(tp, name)
    writer.disconnect()
    await trio.sleep(HEARD_SECONDS)
    for tp, name in _partitions(world).items():
        reads[tp] = await reader.read(tp, name)
    reader.disconnect()
    there = _partitions(world)
    return HealedState(
        not_written={tp: why for tp, why in written.items() if why and tp in there},
        reads={tp: read for tp, read in reads.items() if tp in there},
    )


def _partitions(world: World) -> dict[TopicPartition, str]:
    """Of all topics that there are, with their names."""
    return {tp: topic.name for topic in topics_there(world) for tp in partitions_of(topic)}
