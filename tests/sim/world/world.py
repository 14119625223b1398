"""The world of one seed: its ports, its services, its history, and what has been done to it.

Owns: joining ports and services, the lives of processes, the count of operations and faults. Does not own:
what clients and the nemesis do (actors), judging (checkers).
"""

import traceback
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import trio

from libs.concurrency.clock import LoopClock
from libs.concurrency.rand import Rand, SeededRand
from libs.model.cluster import Topic
from tests.sim.facts import BufferSeen, Injected, Paused, ProcessEnded, ProcessStarted, Woke
from tests.sim.history import History
from tests.sim.world.cluster import AnyMember, GatewayMember, OwnerMember, Ports, ReplicaMember
from tests.sim.world.determinism import Timers
from tests.sim.world.kv import KvPort, RecordedKV
from tests.sim.world.network import Network
from tests.sim.world.plan import COMPACTION_BUFFERS, EPOCH_MS, SKEW_MS_MAX, WorldPlan
from tests.sim.world.process import SimProcess
from tests.sim.world.store import Bucket, StorePort
from tests.sim.world.trace import Trace

READY_SECONDS_MAX: Final = 120.0
VIRTUAL_SECONDS_MAX: Final = 1_800.0
"""Then the clients stop, however little they got done."""
FAULTS_MIN: Final = 24
SAMPLE_SECONDS: Final = 3.0
ACTING_SECONDS: Final = 80.0
"""What a run's operations are spread over, in virtual time."""
AHEAD_MAX: Final = 100
"""Operations that may come earlier: bursts."""
NEMESIS: Final = "nemesis"


@dataclass(slots=True, kw_only=True)
class Counts:
    """What happened, for the report."""

    operations: int = 0
    by_operation: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)


class World:
    """Made by `open_world`."""

    def __init__(
        self,
        *,
        seed: str,
        steps: int,
        plan: WorldPlan,
        nursery: trio.Nursery,
        history: History,
        trace: Trace,
        bucket: Bucket,
        kv: RecordedKV,
        network: Network,
    ) -> None:
        self.seed = seed
        self.steps = steps
        self.plan = plan
        self.nursery = nursery
        self.history = history
        self.trace = trace
        self.bucket = bucket
        self.kv = kv
        self.network = network
        self.clock = LoopClock(EPOCH_MS)
        self.ports = Ports(plan=plan, network=network, bucket=bucket, kv=kv, nursery=nursery, seed=seed)
        self.members: dict[str, AnyMember] = {}
        self.counts = Counts()
        self.topics: dict[str, Topic] = {}
        """What the admin knows to exist, by name."""
        self.clients: dict[str, None] = {}
        """Those that act now."""
        self.leaving: set[str] = set()
        """Owners that an admin drains, to stop them then."""
        self.is_undisturbed = False
        """Whether nobody may disturb owners now: a promise is looked at that is about nothing else (6)."""
        self.store_ports: list[StorePort] = []
        self.kv_ports: list[KvPort] = []
        self._acting_since = 0.0
        """How often the nemesis acted."""
        self._lives: Counter[str] = Counter()

    # Chance, and the budget of operations.

    def rand(self, name: str) -> Rand:
        return self.ports.rand(name)

    @property
    def done(self) -> bool:
        """Whether clients have done all that this run is to do."""
        if trio.current_time() > VIRTUAL_SECONDS_MAX:
            return True
        return self.counts.operations >= self.steps and self.counts.faults.total() >= FAULTS_MIN

    async def breathe(self, rand: Rand) -> None:
        """Waits while clients are far ahead of what the run is to take in time: faults need theirs."""
        while not self.done and self.counts.operations > self._allowed():  # noqa: ASYNC110 - time is waited for
            await trio.sleep(rand.uniform(0.1, 1.0))

    def _allowed(self) -> float:
        return AHEAD_MAX + self.steps * (trio.current_time() - self._acting_since) / ACTING_SECONDS

    def operation(self, name: str) -> None:
        self.counts.operations += 1
        self.counts.by_operation[name] += 1

    async def wait_done(self) -> None:
        while not self.done:  # noqa: ASYNC110 - time itself is one of the bounds
            await trio.sleep(0.5)

    async def sample_buffers(self) -> None:
        """Looks at what owners and gateways hold beside what they may hold, for ever."""
        while True:
            await trio.sleep(SAMPLE_SECONDS)
            for name, member in self.members.items():
                if not member.process.alive or member.service is None:
                    continue
                if isinstance(member, OwnerMember):
                    owner = member.service.statistics()
                    self._buffer(name, "unflushed", owner.unflushed_bytes, owner.unflushed_bytes_max)
                    self._buffer(name, "tail", owner.tail_bytes, owner.tail_bytes_max)
                    self._buffer(name, "replies", owner.reply_bytes, owner.reply_bytes_max)
                    self._buffer(name, "cold", owner.cold.used_bytes, owner.cold.bytes_max)
                    indexes, compaction = owner.segment_indexes, owner.compaction
                    self._buffer(name, "segment indexes", indexes.used_bytes, indexes.bytes_max)
                    if compaction.buffered_bytes_max >= max(COMPACTION_BUFFERS):
                        self._buffer(
                            name, "compaction", compaction.buffered_bytes, compaction.buffered_bytes_max
                        )  # a lesser bound lets one that is larger through alone
                elif isinstance(member, GatewayMember):
                    gateway = member.service.statistics()
                    self._buffer(name, "in flight", gateway.in_flight_bytes, gateway.in_flight_bytes_max)
                    self._buffer(name, "fetched", gateway.fetched_bytes, gateway.fetched_bytes_max)

    def _buffer(self, process: str, buffer: str, used: int, bound: int) -> None:
        if used > bound:
            self.history.add(process, BufferSeen(process=process, buffer=buffer, used=used, bound=bound))

    def store_faults(self) -> Counter[str]:
        """What went wrong between processes and stores, request by request."""
        found: Counter[str] = Counter()
        for port in self.store_ports:
            counts = port.faulty.counts
            found["put_landed_late"] += counts.late_puts
            found["write_arrived_twice"] += counts.doubled
            found["store_reply_lost"] += counts.lost_replies
            found["store_request_lost"] += counts.lost_requests
            found["store_503"] += counts.refused
            found["store_slow_answer"] += counts.slow
        found["kv_lost_or_refused"] = sum(port.lost for port in self.kv_ports)
        return found

    def fault(self, kind: str, target: str = "") -> None:
        """Counts a fault and puts it into the history."""
        self.counts.faults[kind] += 1
        self.trace.note(trio.current_time(), f"fault {kind} {target}")
        self.history.add(NEMESIS, Injected(fault=kind, target=target))

    # Processes

    def start(self, name: str) -> AnyMember:
        """A new life of that process: o0, g1, m2 by the first letter of its kind."""
        old = self.members.get(name)
        assert old is None or not old.process.alive
        kinds: Mapping[str, type[AnyMember]] = {"o": OwnerMember, "g": GatewayMember, "m": ReplicaMember}
        life = self._lives[name]
        self._lives[name] += 1
        member = self.members[name] = kinds[name[0]](self.ports, name, life)
        if old is not None:
            member.clock.skew_ms = old.clock.skew_ms
        if isinstance(member, OwnerMember):
            self.store_ports.append(member.store)
        elif isinstance(member, ReplicaMember):
            self.kv_ports.append(member.kv)
        member.start(self._ended)
        self.nursery.start_soon(self._tell_ready, member)
        return member

    def kill(self, name: str) -> None:
        """As kill -9: at once, and nothing more of it."""
        member = self.members[name]
        if member.process.alive:
            self.history.add(NEMESIS, ProcessEnded(process=name, killed=True))
            member.process.cut()
            member.process.bury()

    def pause(self, name: str) -> None:
        """As SIGSTOP."""
        member = self.members[name]
        session = None
        if isinstance(member, OwnerMember) and member.service is not None:
            session = member.service.control().session
        self.history.add(NEMESIS, Paused(process=name, session=session))
        member.process.pause()

    def resume(self, name: str) -> None:
        member = self.members[name]
        if member.process.alive and member.process.frozen:
            self.history.add(NEMESIS, Woke(process=name))
            member.process.resume()

    def alive(self, kind: str = "") -> list[str]:
        """Names of the processes that run, of that kind (o, g, m), paused ones too."""
        return [
            name for name, member in self.members.items() if member.process.alive and name.startswith(kind)
        ]

    def owners(self) -> list[OwnerMember]:
        return [
            member
            for member in self.members.values()
            if isinstance(member, OwnerMember) and member.process.alive
        ]

    def replicas(self) -> list[ReplicaMember]:
        return [
            member
            for member in self.members.values()
            if isinstance(member, ReplicaMember) and member.process.alive
        ]

    def planned(self) -> list[str]:
        """Names of the processes that the plan has."""
        counts = {"m": self.plan.replicas, "o": self.plan.owners, "g": self.plan.gateways}
        return [f"{kind}{index}" for kind, count in counts.items() for index in range(count)]

    async def start_all(self) -> None:
        """Every process of the plan, ready."""
        members = [self.start(name) for name in self.planned()]
        with trio.fail_after(READY_SECONDS_MAX):
            for member in members:
                while not member.ready.is_set():
                    if member.process.error is not None:
                        raise RuntimeError(f"{member.name} can't start") from member.process.error
                    await trio.sleep(0.05)
        self._acting_since = trio.current_time()

    async def _tell_ready(self, member: AnyMember) -> None:
        await member.ready.wait()
        self.history.add(member.name, ProcessStarted(process=member.name))

    def _ended(self, process: SimProcess) -> None:
        if process.error is None:
            return
        if self.members[process.name].process is process:
            error = "; ".join(_causes(process.error))
            self.history.add(process.name, ProcessEnded(process=process.name, killed=False, error=error))


def _causes(error: BaseException) -> Iterator[str]:
    """What a process died of, each with the line that raised it: nurseries wrap it in groups."""
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _causes(each)
        return
    last = traceback.extract_tb(error.__traceback__)[-1:]
    where = "".join(f" ({Path(frame.filename).name}:{frame.lineno} {frame.name})" for frame in last)
    yield f"{type(error).__name__}: {error}{where}"


@asynccontextmanager
async def open_world(
    *, seed: str, steps: int, plan: WorldPlan, timers: Timers, lines_kept: int = 0
) -> AsyncIterator[World]:
    """A world without processes yet; all ends with the block."""
    trace = Trace(lines_kept=lines_kept)
    history = History(
        trio.current_time, epoch_ms=EPOCH_MS, skew_ms_max=SKEW_MS_MAX if plan.clocks_jump else 0
    )
    network = Network(
        timers=timers, rand=SeededRand(f"{seed}/network"), trace=trace, delay_steps=plan.delay_steps
    )
    async with trio.open_nursery() as nursery:
        yield World(
            seed=seed,
            steps=steps,
            plan=plan,
            nursery=nursery,
            history=history,
            trace=trace,
            bucket=Bucket(LoopClock(EPOCH_MS), history, trace),
            kv=RecordedKV(history, trace),
            network=network,
        )
        nursery.cancel_scope.cancel()
