"""Does what a schedule says to a stack behind proxies, and undoes it.

Owns: each kind's act and its end, the record of what was done when. Does not own: the choice (schedule.py).
Rules: 1 every act is undone, also where the run is cut short; 2 two lanes: a fault begins when the one before
it in its lane is undone, which may be later than planned (a restart takes seconds); 3 what was done is told
with its real times.
"""

import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial

import httpx
import trio

from tests.chaos.etcd_space import ANSWER_SECONDS_MAX, EtcdSpace
from tests.chaos.links import CLEAR, CUT, STORE_CLEAR, Link, StoreTrouble, Trouble
from tests.chaos.proxied import Proxied
from tests.chaos.schedule import CONNECTIONS, PAIRS, Fault
from tools.servers import wait_stopped
from tools.stack.layout import OWNERS
from tools.stack.processes import StackError

_RESTART_SECONDS_MAX = 100.0
_BACK_OFF_SECONDS = 1.0
_UNDO_SECONDS_MAX = 200.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A fault as it happened, on the monotonic clock."""

    fault: Fault
    began_at: float
    ended_at: float

    @property
    def what(self) -> str:
        """In a few words."""
        fault = self.fault
        towards = " -> ".join(fault.targets)
        way = "" if fault.way == "both" else f" ({fault.way})"
        amount = f" {fault.amount:.3g}" if fault.amount else ""
        return f"{fault.kind}{amount}: {towards}{way}"


Act = AbstractAsyncContextManager[None]


class Nemesis:
    """`run` does a schedule; `intervals` is what was done."""

    def __init__(self, proxied: Proxied, tell: Callable[[str], None]) -> None:
        self._stack = proxied.stack
        self._proxies = proxied.proxies
        self._clocks = proxied.clocks
        self._tell = tell
        self.intervals: list[Interval] = []
        self.died: list[str] = []
        """Those that ended though nobody had killed them."""

    async def run(self, faults: Sequence[Fault], seconds: float) -> None:
        """Until `seconds` are over and everything is undone."""
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for is_connections in (False, True):
                lane = [fault for fault in faults if (fault.kind in CONNECTIONS) is is_connections]
                nursery.start_soon(self._run_lane, lane, began, began + seconds)
        await trio.sleep_until(began + seconds)

    async def end(self) -> None:
        """Everything runs, nothing is in trouble: whatever became of `run`."""
        self._proxies.heal()
        for name, child in self._stack.children.items():
            child.send(signal.SIGCONT)
            if not child.alive:
                self.died.append(name)
                await self._restart(name)

    async def _run_lane(self, lane: Iterable[Fault], began: float, over: float) -> None:
        for fault in lane:
            await trio.sleep_until(began + fault.at)
            if trio.current_time() + fault.lasts <= over:
                await self._suffer(fault)

    async def _suffer(self, fault: Fault) -> None:
        began_at = time.monotonic()
        async with self._act(fault):
            await trio.sleep(fault.lasts)
        interval = Interval(fault=fault, began_at=began_at, ended_at=time.monotonic())
        self.intervals.append(interval)
        self._tell(f"{interval.ended_at - began_at:5.1f} s of {interval.what}")

    def _act(self, fault: Fault) -> Act:
        if fault.kind.startswith("kill "):
            return self._killed(fault.targets[0])
        acts: dict[str, Callable[[], Act]] = {
            "stop for a moment": lambda: self._stopped(fault.targets[0]),
            "stop past the lease": lambda: self._stopped(fault.targets[0]),
            "pause etcd": lambda: self._stopped(fault.targets[0]),
            "clock jump": lambda: self._jumped(fault.targets[0], fault.amount),
            "etcd out of space": self._out_of_space,
            "erring minio": lambda: self._erring(fault.amount / 3),
            "reset": lambda: self._refusing(self._proxies.link(*fault.targets)),
        }
        if fault.kind in acts:
            return acts[fault.kind]()
        return self._troubled(self._links_of(fault), self._trouble(fault), fault.way)

    def _links_of(self, fault: Fault) -> list[Link]:
        if fault.kind == "isolate":
            return [self._proxies.link(*pair) for pair in PAIRS if fault.targets[0] in pair]
        if fault.targets == ("minio",):
            return self._proxies.links_to("minio", OWNERS)
        return [self._proxies.link(*fault.targets)]

    def _trouble(self, fault: Fault) -> Trouble:
        if fault.kind in {"delay", "slow minio"}:
            return Trouble(delay_seconds=fault.amount)
        if fault.kind == "throttled minio":
            return Trouble(bytes_per_second=fault.amount)
        return CUT

    # The acts.

    @asynccontextmanager
    async def _killed(self, name: str) -> AsyncIterator[None]:
        child = self._stack.children[name]
        child.send(signal.SIGCONT)  # a stopped one would die as well, but is not told apart in the report
        child.send(signal.SIGKILL)
        await child.wait_ended()
        async with _undo(partial(self._restart, name)):
            yield

    @asynccontextmanager
    async def _stopped(self, name: str) -> AsyncIterator[None]:
        child = self._stack.children[name]
        child.send(signal.SIGSTOP)
        try:
            if child.alive and child.pid is not None:
                await trio.to_thread.run_sync(wait_stopped, child.pid)
            yield
        finally:
            child.send(signal.SIGCONT)

    @asynccontextmanager
    async def _jumped(self, name: str, seconds: float) -> AsyncIterator[None]:
        if self._clocks is None:  # no C compiler: the report says so
            yield
            return
        self._clocks.jump(name, seconds)
        try:
            yield
        finally:
            self._clocks.jump(name, 0.0)

    @asynccontextmanager
    async def _out_of_space(self) -> AsyncIterator[None]:
        async with httpx.AsyncClient(trust_env=False, timeout=ANSWER_SECONDS_MAX) as client:
            space = EtcdSpace(self._stack.port_of("etcd"), client)
            async with _undo(space.make_room):
                if not await space.fill():
                    self._tell("etcd could not be filled: it did not answer for long enough")
                yield

    @asynccontextmanager
    async def _erring(self, share: float) -> AsyncIterator[None]:
        """`share` of the requests fails in each way."""
        links = self._proxies.links_to("minio", OWNERS)
        for link in links:
            link.store = StoreTrouble(slow_down=share, failed_though_done=share, lost_answer=share)
        try:
            yield
        finally:
            for link in links:
                link.store = STORE_CLEAR

    @asynccontextmanager
    async def _refusing(self, link: Link) -> AsyncIterator[None]:
        link.refuse()
        try:
            yield
        finally:
            link.heal()

    @asynccontextmanager
    async def _troubled(self, links: list[Link], trouble: Trouble, way: str) -> AsyncIterator[None]:
        ways = [
            each
            for link in links
            for name, each in (("forth", link.forth), ("back", link.back))
            if way in {name, "both"}
        ]
        for each in ways:
            each.suffer(trouble)
        try:
            yield
        finally:
            for each in ways:
                each.suffer(CLEAR)

    async def _restart(self, name: str) -> None:
        """As Kubernetes would: again and again, since what it needs to start may be in trouble as well."""
        deadline = trio.current_time() + _RESTART_SECONDS_MAX
        while True:
            try:
                await self._stack.restart(name)
            except StackError as error:
                if trio.current_time() > deadline:
                    raise
                self._tell(f"again: {str(error).splitlines()[0]}")
                await trio.sleep(_BACK_OFF_SECONDS)
            else:
                return


@asynccontextmanager
async def _undo(undo: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    try:
        yield
    finally:
        with trio.fail_after(_UNDO_SECONDS_MAX, shield=True):
            await undo()
