"""Keys are worked on once at a time, again where they changed meanwhile, later where they failed."""

from collections.abc import Awaitable, Callable

import trio

from libs.concurrency.rand import SeededRand
from libs.concurrency.retry import Backoff
from services.operator.work_queue import WorkQueue


async def run(queue: WorkQueue[str], work: Callable[[str], Awaitable[bool]], seconds: float = 100) -> None:
    with trio.move_on_after(seconds):
        await queue.run(work, workers=3)


async def test_a_key_is_never_worked_on_beside_itself(autojump_clock: object) -> None:
    queue: WorkQueue[str] = WorkQueue(SeededRand(1))
    busy: set[str] = set()
    done: list[str] = []

    async def work(key: str) -> bool:
        assert key not in busy
        busy.add(key)
        if len(done) < 4:
            queue.add(key)  # it changes while it is worked on
        await trio.sleep(1)
        busy.discard(key)
        done.append(key)
        return True

    queue.add("a")
    queue.add("a")
    queue.add("b")
    await run(queue, work)
    assert sorted(set(done)) == ["a", "b"]
    assert len(done) == 6
    assert len(queue) == 0


async def test_several_keys_are_worked_on_at_a_time(autojump_clock: object) -> None:
    queue: WorkQueue[str] = WorkQueue(SeededRand(1))
    ends: list[float] = []

    async def work(_key: str) -> bool:
        await trio.sleep(1)
        ends.append(trio.current_time())
        return True

    for key in "abc":
        queue.add(key)
    began = trio.current_time()
    await run(queue, work)
    assert [end - began for end in ends] == [1, 1, 1]


async def test_failures_wait_ever_longer_and_are_forgotten(autojump_clock: object) -> None:
    queue: WorkQueue[str] = WorkQueue(SeededRand(1), backoff=Backoff(first_seconds=1, max_seconds=8))
    tries: list[int] = []

    async def work(key: str) -> bool:
        tries.append(queue.failures(key))
        return len(tries) > 5

    queue.add("a")
    await run(queue, work)
    assert tries == [0, 1, 2, 3, 4, 5]
    assert queue.failures("a") == 0


async def test_later_is_the_earliest_that_was_asked_for(autojump_clock: object) -> None:
    queue: WorkQueue[str] = WorkQueue(SeededRand(1))
    at: list[float] = []

    async def work(_key: str) -> bool:
        at.append(trio.current_time() - began)
        return True

    began = trio.current_time()
    queue.add_after("a", 50)
    queue.add_after("a", 20)
    queue.add_after("a", 30)
    await run(queue, work)
    assert at == [20]
