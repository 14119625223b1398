"""Killing and pausing simulated processes: nothing of a dead one gets out, nothing of a paused one runs."""

from collections.abc import Awaitable, Callable

import trio
import trio.testing

from libs.concurrency.rand import SeededRand
from tests.sim.world.determinism import Timers, run_deterministic
from tests.sim.world.network import Connection, Network
from tests.sim.world.process import SimProcess
from tests.sim.world.trace import Trace


class _Scene:
    """Two processes, a network, and what arrived at b."""

    def __init__(self, nursery: trio.Nursery, network: Network) -> None:
        self.nursery = nursery
        self.network = network
        self.a, self.b = SimProcess("a"), SimProcess("b")
        self.received: list[tuple[float, str]] = []
        self.lost: list[tuple[float, str]] = []
        for process in (self.a, self.b):
            process.start(nursery, trio.sleep_forever, lambda _process: None)
        network.listen(self.a, lambda _connection: None)
        network.listen(self.b, self._accept)

    def _accept(self, connection: Connection) -> None:
        connection.on_lost[1] = lambda reason: self.lost.append((trio.current_time(), reason))

    async def connect(self) -> Connection:
        up: list[Connection] = []
        self.network.dial(self.a, "b", up.append, lambda _reason: None)
        await trio.sleep(1)
        (connection,) = up
        connection.on_lost[0] = lambda reason: self.lost.append((trio.current_time(), reason))
        return connection

    def send(self, connection: Connection, what: str) -> None:
        connection.send(0, lambda: self.received.append((trio.current_time(), what)))


def _run(
    story: Callable[[_Scene], Awaitable[None]], *, delay_steps: tuple[int, int] = (0, 0), seed: int = 1
) -> None:
    async def main(timers: Timers) -> None:
        network = Network(timers=timers, rand=SeededRand(seed), trace=Trace(), delay_steps=delay_steps)
        async with trio.open_nursery() as nursery:
            scene = _Scene(nursery, network)
            await trio.sleep(0.1)  # virtual: the processes have begun
            await story(scene)
            nursery.cancel_scope.cancel()

    run_deterministic(main, seed=1)


def test_a_killed_process_sends_nothing_not_even_from_its_cleanup() -> None:
    async def story(scene: _Scene) -> None:
        connection = await scene.connect()
        cleaned: list[bool] = []

        async def work() -> None:
            try:
                await trio.sleep_forever()
            finally:
                cleaned.append(True)
                scene.send(connection, "from the grave")

        assert scene.a.spawn(work)
        await trio.sleep(1)
        scene.send(connection, "before")
        scene.a.cut()
        scene.a.bury()
        await scene.a.gone.wait()
        await trio.sleep(1)
        assert cleaned == [True]
        assert [what for _, what in scene.received] == ["before"]

    _run(story)


def test_what_was_sent_before_the_kill_arrives_then_its_end() -> None:
    async def story(scene: _Scene) -> None:
        connection = await scene.connect()
        scene.send(connection, "last words")
        scene.a.cut()
        scene.a.bury()
        assert scene.received == []
        await trio.sleep(60)
        assert [what for _, what in scene.received] == ["last words"]
        assert len(scene.lost) == 1
        assert scene.lost[0][0] >= scene.received[0][0]

    _run(story, delay_steps=(100, 200))


def test_who_dials_a_process_that_dies_as_it_accepts_hears_of_it() -> None:
    """Whichever comes first, that the connection is up or that it is over: seed 1004 at 0e7d6d3."""
    told: list[str] = []

    async def story(scene: _Scene) -> None:
        def up(connection: Connection) -> None:
            connection.on_lost[0] = lambda _reason: told.append("lost")

        def dies(_connection: Connection) -> None:
            scene.b.cut()
            scene.b.bury()

        scene.network.accepts[scene.b] = dies
        scene.network.dial(scene.a, "b", up, lambda _reason: told.append("failed"))
        await trio.sleep(60)

    seeds = range(1, 21)
    for seed in seeds:
        _run(story, delay_steps=(100, 200), seed=seed)
    assert len(told) == len(seeds)
    assert set(told) == {"lost", "failed"}


def test_a_paused_process_runs_no_task_until_it_goes_on() -> None:
    async def story(scene: _Scene) -> None:
        ticks: list[float] = []

        async def tick() -> None:
            while True:
                await trio.sleep(1)
                ticks.append(trio.current_time())

        began = trio.current_time()
        assert scene.a.spawn(tick)
        await trio.sleep(2.5)
        scene.a.pause()
        await trio.sleep(10)
        assert [round(at - began) for at in ticks] == [1, 2]
        scene.a.resume()
        await trio.sleep(0.1)
        assert [round(at - began, 1) for at in ticks] == [1, 2, 12.5]

    _run(story)


def test_a_paused_process_can_be_killed_while_its_tasks_are_woken() -> None:
    async def story(scene: _Scene) -> None:
        event, ended = trio.Event(), trio.Event()

        async def wait() -> None:
            try:
                await event.wait()
            finally:
                ended.set()

        assert scene.a.spawn(wait)
        await trio.sleep(1)
        scene.a.pause()
        event.set()
        await trio.sleep(1)
        assert not ended.is_set()
        scene.a.cut()
        scene.a.bury()
        await scene.a.gone.wait()
        assert ended.is_set()

    _run(story)


def test_a_cut_way_keeps_what_is_sent_in_order_until_it_is_healed() -> None:
    async def story(scene: _Scene) -> None:
        connection = await scene.connect()
        scene.network.cut("a", "b")
        for number in range(5):
            scene.send(connection, str(number))
            await trio.sleep(0.1)
        assert scene.received == []
        scene.network.heal("a", "b")
        await trio.sleep(1)
        assert [what for _, what in scene.received] == list("01234")
        assert scene.lost == []

    _run(story, delay_steps=(0, 5))


def test_both_sides_give_up_a_connection_that_stays_cut() -> None:
    async def story(scene: _Scene) -> None:
        await scene.connect()
        scene.network.cut("a", "b")
        scene.network.cut("b", "a")
        await trio.sleep(60)
        assert len(scene.lost) == 2

    _run(story)


def test_who_is_dead_refuses_unless_its_host_is_gone_too() -> None:
    async def story(scene: _Scene) -> None:
        assert not scene.network.is_refused("a", "b")
        scene.b.cut()
        scene.b.bury()
        assert scene.network.is_refused("a", "b")
        scene.b.host_answers = False
        assert not scene.network.is_refused("a", "b")
        failed: list[tuple[float, str]] = []
        began = trio.current_time()
        scene.network.dial(
            scene.a, "b", lambda _up: None, lambda why: failed.append((trio.current_time(), why))
        )
        await trio.sleep(20)
        assert [(at - began, why) for at, why in failed] == [(5.0, "no answer")]

    _run(story)


def test_the_same_seed_schedules_the_same_and_another_one_does_not() -> None:
    def order(seed: int) -> list[int]:
        found: list[int] = []

        async def main(_timers: Timers) -> None:
            async def one(number: int) -> None:
                for _ in range(3):
                    await trio.lowlevel.checkpoint()
                    found.append(number)

            async with trio.open_nursery() as nursery:
                for number in range(6):
                    nursery.start_soon(one, number)

        run_deterministic(main, seed=seed)
        return found

    assert order(1) == order(1)
    assert order(1) != order(2)


async def test_what_is_raised_by_cleaning_up_after_a_kill_is_nobodys_error() -> None:
    async def body() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise RuntimeError("Nursery is closed to new arrivals")

    killed, ended = SimProcess("killed"), SimProcess("ended")
    async with trio.open_nursery() as nursery:
        for process in (killed, ended):
            process.start(nursery, body, lambda _process: None)
        await trio.testing.wait_all_tasks_blocked()
        killed.cut()
        killed.bury()
        assert ended.spawn(_fail)
        await killed.gone.wait()
        await ended.gone.wait()
    assert killed.error is None
    assert ended.error is not None


async def _fail() -> None:
    raise RuntimeError("it fails by itself")
