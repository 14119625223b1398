"""A simulated process: what is killed, paused and started again as one.

Owns: its tasks, its end. Does not own: what it runs (cluster.py), its ports.
Rules: 1 a killed process has no effect on anything from that very moment, not even by its `finally` blocks:
its ports are cut first, then its tasks are cancelled; what it had sent before still arrives; 2 a paused one
runs no task at all, its clocks go on, what is sent to it waits; 3 only tasks of its own have its context.
"""

from collections.abc import Awaitable, Callable
from contextvars import Context, copy_context
from typing import Any

import trio

from tests.sim.world.determinism import PROCESS


class SimProcess:
    """One life of a process. `name` is an address too; `life` counts its lives."""

    def __init__(self, name: str, *, life: int = 0) -> None:
        self.name = name
        self.life = life
        self.alive = True
        self.host_answers = True
        """Whether whoever connects to a dead process is refused at once; else nobody answers."""
        self.frozen = False
        self.gone = trio.Event()
        self.error: BaseException | None = None
        """What it ended by, where nobody killed it."""
        self.on_cut: list[Callable[[], None]] = []
        self._held: list[tuple[trio.lowlevel.Task, Callable[[], None]]] = []
        self._scope = trio.CancelScope()
        self._nursery: trio.Nursery | None = None
        self._context: Context = copy_context()
        self._context.run(PROCESS.set, self)

    def __str__(self) -> str:
        return self.name

    def start(
        self,
        nursery: trio.Nursery,
        body: Callable[[], Awaitable[None]],
        ended: Callable[["SimProcess"], None],
    ) -> None:
        """Runs `body` as this process, in `nursery`; `ended` is called when it is over, however."""
        self._context.run(nursery.start_soon, self._run, body, ended)

    def spawn(self, task: Callable[..., Awaitable[Any]], *args: Any) -> bool:
        """Starts a task of this process, from outside. False where it can't take any more."""
        if not self.alive or self._nursery is None or self._nursery.cancel_scope.cancel_called:
            return False
        self._context.run(self._nursery.start_soon, task, *args)
        return True

    def cut(self) -> None:
        """The kill itself: nothing that it does has any effect from now on. `bury` cleans up."""
        if not self.alive:
            return
        self.alive = False
        self.frozen = True
        for cut in self.on_cut:
            cut()

    def bury(self) -> None:
        """Ends the tasks of a process that was cut."""
        assert not self.alive
        self._scope.cancel()
        self.resume()

    def pause(self) -> None:
        self.frozen = True

    def resume(self) -> None:
        """All that happened to it meanwhile happens now."""
        self.frozen = False
        held, self._held = self._held, []
        for _, wake in held:
            wake()

    def hold(self, task: trio.lowlevel.Task, wake: Callable[[], None]) -> None:
        self._held.append((task, wake))

    async def _run(self, body: Callable[[], Awaitable[None]], ended: Callable[["SimProcess"], None]) -> None:
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    self._nursery = nursery
                    await body()
                    nursery.cancel_scope.cancel()
        except Exception as error:  # the supervisor: a process that ends takes nobody with it
            if self.alive:  # else it is of the cleaning up, and no process that was killed cleans up
                self.error = error
        finally:
            self._nursery = None
            if self.alive:
                self.alive = False
                for cut in self.on_cut:
                    cut()
            ended(self)
            self.gone.set()


class WorldNursery:
    """Starts requests as tasks of the world: they belong to nobody once they are sent."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery

    def start_soon(self, task: Callable[..., Awaitable[Any]], *args: Any) -> None:
        Context().run(self._nursery.start_soon, task, *args)
