"""The network between processes: ways that delay and stop, connections that break.

Owns: what arrives, when, in which order; who learns of a broken connection, and when. Does not own: what is
sent over a connection (rpc.py, streams.py).
Rules: 1 what one side of a connection sends arrives in order, or not at all: there is nothing that TCP would
not do; 2 a way that is cut keeps what is sent until it is healed, or a side gives the connection up: each
side learns by itself; 3 what a process had sent before it was killed still arrives, its end behind it;
4 deliveries run in nobody's task: they only wake.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

import trio

from libs.concurrency.rand import Rand
from tests.sim.world.determinism import Timers
from tests.sim.world.process import SimProcess
from tests.sim.world.trace import Trace

CONNECT_SECONDS_MAX: Final = 5.0
_KEEPALIVE_SECONDS: Final = (8.0, 16.0)
_STEP_SECONDS: Final = 0.0005
"""Delays are whole numbers of it: what arrives together costs one step of the loop."""

Deliver = Callable[[], None]


class Way:
    """From one process name to another, in that direction."""

    __slots__ = ("connections", "delay_steps", "held", "is_cut", "name")

    def __init__(self, name: str, delay_steps: tuple[int, int]) -> None:
        self.name = name
        self.is_cut = False
        self.delay_steps = delay_steps
        self.held: deque[tuple[Connection, Deliver]] = deque()
        self.connections: dict[Connection, None] = {}


class Connection:
    """Between two lives of processes. Side 0 is who dialled, side 1 who was called."""

    __slots__ = ("_network", "_nexts", "is_open", "on_lost", "served", "sides", "ways")

    def __init__(self, network: "Network", caller: SimProcess, called: SimProcess) -> None:
        self._network = network
        self.sides = (caller, called)
        self.ways = (network.way(caller.name, called.name), network.way(called.name, caller.name))
        self.is_open = [True, True]
        self.on_lost: list[Callable[[str], None] | None] = [None, None]
        """Called once on each side, with the reason, where that side did not close it."""
        self._nexts = [0.0, 0.0]
        self.served: object = None
        """What the called side keeps about it."""
        for way in self.ways:
            way.connections[self] = None

    def send(self, side: int, deliver: Deliver) -> None:
        """Sends from `side`; `deliver` runs when it arrives at the other, if that side is still open."""
        if self.is_open[side] and self.sides[side].alive:
            self._network.transmit(self, side, self.ways[side], deliver)

    def close(self, side: int) -> None:
        """This side is done: the other learns of it behind everything that was sent."""
        if not self.is_open[side]:
            return
        self.is_open[side] = False
        self._network.transmit(self, side, self.ways[side], lambda: self.lose(1 - side, "closed by the peer"))
        self._forget()

    def lose(self, side: int, reason: str) -> None:
        """This side learns that the connection is broken."""
        if not self.is_open[side]:
            return
        self.is_open[side] = False
        on_lost = self.on_lost[side]
        if on_lost is not None and self.sides[side].alive:
            on_lost(reason)
        self._network.transmit(self, side, self.ways[side], lambda: self.lose(1 - side, reason))
        self._forget()

    def next_at(self, side: int, at: float) -> float:
        """When what would arrive at `at` may: never before what was sent earlier."""
        self._nexts[side] = at = max(at, self._nexts[side])
        return at

    def _forget(self) -> None:
        if not self.is_open[0] and not self.is_open[1]:
            for way in self.ways:
                way.connections.pop(self, None)


class Network:
    """All ways and all addresses."""

    def __init__(self, *, timers: Timers, rand: Rand, trace: Trace, delay_steps: tuple[int, int]) -> None:
        self.delay_steps = delay_steps
        self.addresses: dict[str, SimProcess] = {}
        self.accepts: dict[SimProcess, Callable[[Connection], None]] = {}
        self._timers = timers
        self._rand = rand
        self._trace = trace
        self._ways: dict[tuple[str, str], Way] = {}

    def way(self, source: str, target: str) -> Way:
        found = self._ways.get((source, target))
        if found is None:
            found = self._ways[source, target] = Way(f"{source}>{target}", self.delay_steps)
        return found

    def listen(self, process: SimProcess, accept: Callable[[Connection], None]) -> None:
        """Whoever dials the process's name reaches `accept`, until it is dead."""
        self.addresses[process.name] = process
        self.accepts[process] = accept
        process.on_cut.append(lambda: self._died(process))

    def dial(
        self,
        caller: SimProcess,
        address: str,
        on_up: Callable[[Connection], None],
        on_failed: Callable[[str], None],
    ) -> None:
        """One of the two is called, within CONNECT_SECONDS_MAX."""
        settled: list[bool] = []

        def settle(outcome: Callable[[], None]) -> None:
            if not settled and caller.alive:
                settled.append(True)
                outcome()

        there, back = self.way(caller.name, address), self.way(address, caller.name)

        def arrived() -> None:
            called = self.addresses.get(address)
            if there.is_cut or back.is_cut or (called is not None and called.frozen and called.alive):
                return
            if called is None or not called.alive:
                if called is None or called.host_answers:
                    self.later(self._delay(back), lambda: settle(lambda: on_failed("refused")))
                return
            connection = Connection(self, caller, called)
            self.accepts[called](connection)

            def up() -> None:
                if not connection.is_open[0]:  # its end came first: who dialled has not seen it yet
                    settle(lambda: on_failed("reset"))
                elif settled:
                    connection.close(0)
                else:
                    settle(lambda: on_up(connection))

            self.later(self._delay(back), up)

        self.later(self._delay(there), arrived)
        self.later(CONNECT_SECONDS_MAX, lambda: settle(lambda: on_failed("no answer")))

    def is_refused(self, caller: str, address: str) -> bool:
        """Whether the host of this address would say that nobody listens."""
        called = self.addresses.get(address)
        if self.way(caller, address).is_cut or self.way(address, caller).is_cut:
            return False
        return called is None or (not called.alive and called.host_answers)

    def cut(self, source: str, target: str) -> None:
        """Nothing gets through in this direction; connections break in time, each side by itself."""
        way = self.way(source, target)
        if way.is_cut:
            return
        way.is_cut = True
        for connection in list(way.connections):
            for side in (0, 1):
                self.later(
                    self._rand.uniform(*_KEEPALIVE_SECONDS),
                    lambda each=connection, side=side: self._miss(way, each, side),  # type: ignore[misc]
                )

    def heal(self, source: str, target: str) -> None:
        """What waited arrives, in order."""
        way = self.way(source, target)
        way.is_cut = False
        held, way.held = way.held, deque()
        for connection, deliver in held:
            self._arrive(connection, way, deliver)

    def ways(self) -> list[Way]:
        """All that were ever used."""
        return list(self._ways.values())

    def heal_all(self) -> None:
        for source, target in list(self._ways):
            self.heal(source, target)

    def cuts(self) -> list[str]:
        """The names of the ways that are cut."""
        return [way.name for way in self._ways.values() if way.is_cut]

    def reset(self, source: str, target: str) -> int:
        """Breaks the connections between two at once: what was received stays received, replies are lost."""
        connections = list(self.way(source, target).connections)
        for connection in connections:
            connection.lose(self._rand.integer(0, 1), "reset")
        return len(connections)

    def transmit(self, connection: Connection, side: int, way: Way, deliver: Deliver) -> None:
        delay_seconds = self._delay(way)
        now = trio.current_time()
        at = connection.next_at(side, now + delay_seconds)
        if at <= now and not way.held:
            self._arrive(connection, way, deliver)
        else:
            self._timers.add(at, lambda: self._arrive(connection, way, deliver))

    def later(self, delay_seconds: float, call: Deliver) -> None:
        """Calls it then; at once where there is nothing to wait for."""
        if delay_seconds <= 0:
            call()
        else:
            self._timers.add(trio.current_time() + delay_seconds, call)

    def _delay(self, way: Way) -> float:
        low, high = way.delay_steps
        return _STEP_SECONDS * (low if low == high else self._rand.integer(low, high))

    def _arrive(self, connection: Connection, way: Way, deliver: Deliver) -> None:
        if way.is_cut:
            way.held.append((connection, deliver))
            return
        receiver = 0 if way is connection.ways[1] else 1
        if connection.is_open[receiver] and connection.sides[receiver].alive:
            self._trace.note(trio.current_time(), f"net {way.name}")
            deliver()

    def _miss(self, way: Way, connection: Connection, side: int) -> None:
        if way.is_cut:
            connection.lose(side, "keepalive timed out")

    def _died(self, process: SimProcess) -> None:
        """The host closes its connections, or is gone and others find out by themselves."""
        self.accepts.pop(process, None)
        for way in list(self._ways.values()):
            for connection in list(way.connections):
                if process not in connection.sides or way is not connection.ways[0]:
                    continue
                side = connection.sides.index(process)
                if process.host_answers:
                    connection.close(side)
                else:
                    connection.is_open[side] = False
                    self.later(
                        self._rand.uniform(*_KEEPALIVE_SECONDS),
                        lambda each=connection, side=side: each.lose(1 - side, "keepalive timed out"),  # type: ignore[misc]
                    )
