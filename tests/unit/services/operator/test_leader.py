"""One of several replicas works; a lost lease ends the work before another begins."""

from collections.abc import Awaitable, Callable

import trio

from libs.concurrency.clock import LoopClock, ManualClock
from services.operator.kinds import LEASES, Key
from services.operator.leader import LEASE_NAME, Election, Seen, held, may_take
from tests.unit.services.operator.fake_kube import FakeKube

SECONDS = 15.0
KEY = Key(LEASES.kind, "kafscale", LEASE_NAME)


def election(kube: FakeKube, identity: str) -> Election:
    return Election(
        kube, namespace="kafscale", identity=identity, seconds=SECONDS, clock=LoopClock(1_700_000_000_000)
    )


class Work:
    """Who works when: two at a time are an error."""

    def __init__(self) -> None:
        self.working: set[str] = set()
        self.terms: list[str] = []

    def of(self, identity: str) -> Callable[[], Awaitable[None]]:
        async def lead() -> None:
            assert not self.working, "two lead at a time"
            self.working.add(identity)
            self.terms.append(identity)
            try:
                await trio.sleep_forever()
            finally:
                self.working.discard(identity)

        return lead


def test_whose_the_lease_may_be() -> None:
    mine = held(None, namespace="n", identity="me", seconds=15, now_ms=0)
    assert mine["spec"]["leaseTransitions"] == 0
    mine["metadata"]["resourceVersion"] = "7"
    assert may_take(None, None, identity="me", now=0)
    assert may_take(mine, None, identity="me", now=0)
    assert not may_take(mine, None, identity="you", now=1000)
    assert not may_take(mine, Seen(version="7", at=0), identity="you", now=15)
    assert may_take(mine, Seen(version="7", at=0), identity="you", now=15.1)
    taken = held(mine, namespace="n", identity="you", seconds=15, now_ms=1000)
    assert taken["spec"]["leaseTransitions"] == 1
    assert taken["metadata"]["resourceVersion"] == "7"


async def test_one_leads_and_the_other_takes_over_when_it_dies(autojump_clock: object) -> None:
    kube, work = FakeKube(), Work()
    async with trio.open_nursery() as nursery:
        first = trio.CancelScope()

        async def run_first() -> None:
            with first:
                await election(kube, "first").run(work.of("first"))

        nursery.start_soon(run_first)
        await trio.sleep(1)
        nursery.start_soon(election(kube, "second").run, work.of("second"))
        await trio.sleep(100)
        assert work.working == {"first"}
        first.cancel()
        await trio.sleep(SECONDS * 2)
        assert work.working == {"second"}
        nursery.cancel_scope.cancel()
    assert work.terms == ["first", "second"]


async def test_an_outage_ends_the_work_before_the_lease_does(autojump_clock: object) -> None:
    kube, work = FakeKube(), Work()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(election(kube, "first").run, work.of("first"))
        await trio.sleep(20)
        assert work.working == {"first"}
        kube.down = True
        await trio.sleep(SECONDS)
        assert work.working == set()
        kube.down = False
        await trio.sleep(SECONDS)
        assert work.working == {"first"}
        nursery.cancel_scope.cancel()


async def test_a_lease_that_another_took_ends_the_work(autojump_clock: object) -> None:
    kube, work = FakeKube(), Work()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(election(kube, "first").run, work.of("first"))
        await trio.sleep(20)
        stolen = held(kube.objects()[KEY], namespace="kafscale", identity="thief", seconds=15, now_ms=0)
        kube.put(stolen)
        await trio.sleep(SECONDS / 2)
        assert work.working == set()
        nursery.cancel_scope.cancel()


async def test_a_leader_that_resigns_is_followed_at_once(autojump_clock: object) -> None:
    kube, work = FakeKube(), Work()
    async with trio.open_nursery() as nursery:
        first = election(kube, "first")
        nursery.start_soon(first.run, work.of("first"))
        await trio.sleep(1)
        nursery.start_soon(election(kube, "second").run, work.of("second"))
        await trio.sleep(1)
        await first.resign()
        assert work.working == set()
        await trio.sleep(SECONDS / 2)
        assert work.working == {"second"}
        nursery.cancel_scope.cancel()


async def test_a_wrong_clock_takes_no_lease(autojump_clock: object) -> None:
    kube, work = FakeKube(), Work()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(election(kube, "first").run, work.of("first"))
        await trio.sleep(1)
        ahead = Election(
            kube,
            namespace="kafscale",
            identity="ahead",
            seconds=SECONDS,
            clock=ManualClock(9_999_999_999_999),
        )
        nursery.start_soon(ahead.run, work.of("ahead"))
        await trio.sleep(100)
        assert work.terms == ["first"]
        nursery.cancel_scope.cancel()
