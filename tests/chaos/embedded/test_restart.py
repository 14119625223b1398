"""One process on its data directory, killed while produces are in flight: nothing acknowledged is missing."""

import signal
from collections import deque
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import trio

from tests.support.kafka_session import Disconnected, KafkaSession, batch, open_session
from tools.stack.embedded import Embedded, open_embedded

TOPIC = "orders"
PRODUCERS = 3
IN_FLIGHT_MAX = 5  # as Kafka's idempotent producers
KILLS = 3
ACKNOWLEDGED_BEFORE_A_KILL = 60


class Producer:
    """An idempotent producer as clients write them: what was not acknowledged is sent again, in order."""

    def __init__(self, producer_id: int) -> None:
        self.acknowledged: dict[bytes, int] = {}
        """Value -> offset."""
        self.pending: deque[int] = deque()
        """Sequences that were sent and not acknowledged."""
        self._producer_id = producer_id
        self._next = 0
        self._more = trio.Event()

    async def run(self, session: KafkaSession, *, more: bool) -> None:
        """Sends again what is pending, then new ones where `more`; ends when all is acknowledged, or lost."""
        try:
            for sequence in self.pending:
                await self._send(session, sequence)
            while more or self.pending:
                while more and len(self.pending) < IN_FLIGHT_MAX:
                    self.pending.append(self._next)
                    self._next += 1
                    await self._send(session, self.pending[-1])
                (offset,) = await session.acknowledged()
                self.acknowledged[self._value(self.pending.popleft())] = offset
                self._more.set()
        except Disconnected:
            return

    async def wait_acknowledged(self, count: int) -> None:
        while len(self.acknowledged) < count:
            self._more = trio.Event()
            await self._more.wait()

    async def _send(self, session: KafkaSession, sequence: int) -> None:
        records = batch([self._value(sequence)], producer_id=self._producer_id, sequence=sequence)
        await session.send(TOPIC, {0: records})

    def _value(self, sequence: int) -> bytes:
        return b"%d:%06d" % (self._producer_id, sequence)


def _port(embedded: Embedded) -> int:
    assert embedded.child.ports.kafka
    return embedded.child.ports.kafka


async def _run(embedded: Embedded, producer: Producer, *, more: bool) -> None:
    async with open_session(_port(embedded)) as session:
        await producer.run(session, more=more)


async def _kill_while_producing(embedded: Embedded, producers: Iterable[Producer], each_until: int) -> None:
    async with trio.open_nursery() as nursery:
        for producer in producers:
            nursery.start_soon(partial(_run, embedded, producer, more=True))
        for producer in producers:
            await producer.wait_acknowledged(each_until)
        embedded.child.send(signal.SIGKILL)
        assert await embedded.child.wait_ended() == -signal.SIGKILL


async def test_kills_while_produces_are_in_flight_lose_nothing_acknowledged(tmp_path: Path) -> None:
    with trio.fail_after(120):
        async with open_embedded(tmp_path / "data") as embedded:
            async with open_session(_port(embedded)) as session:
                await session.create_topic(TOPIC)
                producers = [Producer(await session.new_producer_id()) for _ in range(PRODUCERS)]
            for kill in range(1, KILLS + 1):
                await _kill_while_producing(embedded, producers, kill * ACKNOWLEDGED_BEFORE_A_KILL)
                assert any(producer.pending for producer in producers), "nothing was in flight"
                await embedded.start()
            for producer in producers:
                await _run(embedded, producer, more=False)
            async with open_session(_port(embedded)) as session:
                records = await session.fetch_all(TOPIC)
    _check(records, producers)


def _check(records: list[tuple[int, bytes]], producers: Iterable[Producer]) -> None:
    """Every acknowledged value is at its offset; each value is there once, each producer's in order."""
    assert [offset for offset, _ in records] == list(range(len(records)))
    for producer in producers:
        for value, offset in producer.acknowledged.items():
            assert records[offset] == (offset, value)
    values = [value for _, value in records]
    assert sorted(values) == sorted(value for producer in producers for value in producer.acknowledged)
    for producer in producers:
        own = [value for value in values if value in producer.acknowledged]
        assert own == sorted(own)


async def test_sigint_drains_and_ends_with_0_and_the_next_start_has_everything(tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with open_embedded(tmp_path / "data") as embedded:
            async with open_session(_port(embedded)) as session:
                await session.create_topic(TOPIC)
                producer = Producer(await session.new_producer_id())
            async with trio.open_nursery() as nursery:
                nursery.start_soon(partial(_run, embedded, producer, more=True))
                await producer.wait_acknowledged(ACKNOWLEDGED_BEFORE_A_KILL)
                embedded.child.send(signal.SIGINT)
                assert await embedded.child.wait_ended() == 0
            said = embedded.child.log_since_start()
            assert '"drain_began"' in said
            assert '"session_sealed"' in said
            assert '"drain_cut_off"' not in said
            await embedded.start()
            await _run(embedded, producer, more=False)
            async with open_session(_port(embedded)) as session:
                records = await session.fetch_all(TOPIC)
    _check(records, [producer])
