"""Retrying, instrumented and prefixed stores over one that fails on request."""

from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock

from libs.concurrency.clock import ManualClock
from libs.concurrency.rand import SeededRand
from libs.concurrency.retry import RetryPolicy
from libs.model.errors import Invalid, KafscaleError, NotFound, Unavailable
from libs.objectstore.faulty import FaultPlan, FaultyObjectStore
from libs.objectstore.instrumented import InstrumentedObjectStore
from libs.objectstore.memory import MemoryObjectStore
from libs.objectstore.port import ObjectStore, PutResult
from libs.objectstore.prefixed import PrefixedObjectStore
from libs.objectstore.retrying import RetryingObjectStore
from tests.contract.objectstore.cases import Contract

Call = Callable[[ObjectStore], Awaitable[object]]

READS: dict[str, Call] = {
    "get": lambda store: store.get("a"),
    "get_suffix": lambda store: store.get_suffix("a", 1),
    "head": lambda store: store.head("a"),
    "list": lambda store: store.list(""),
    "delete": lambda store: store.delete(["a"]),
}
PUTS: dict[str, Call] = {
    "put": lambda store: store.put("b", b"12345"),
    "put_if_absent": lambda store: store.put_if_absent("b", [b"123", b"45"]),
}


class FailingStore(PrefixedObjectStore):
    """Raises the errors of `errors`, one a call, before it does anything."""

    def __init__(self, store: ObjectStore) -> None:
        super().__init__(store, "failing")
        self.errors: list[KafscaleError] = []

    def __getattribute__(self, name: str) -> object:
        found = super().__getattribute__(name)
        if name in READS or name in PUTS:
            errors = self.errors

            async def call(*args: object, **named: object) -> object:
                if errors:
                    raise errors.pop(0)
                return await found(*args, **named)

            return call
        return found


@pytest.fixture
async def failing() -> FailingStore:
    store = FailingStore(MemoryObjectStore(ManualClock()))
    await store.put("a", b"123")
    return store


@pytest.fixture
def retrying(failing: FailingStore) -> RetryingObjectStore:
    return RetryingObjectStore(failing, policy=RetryPolicy(attempts_max=3), rand=SeededRand(1))


@pytest.mark.parametrize("operation", READS)
async def test_reads_are_retried_whatever_the_outcome(
    failing: FailingStore, retrying: RetryingObjectStore, operation: str, autojump_clock: MockClock
) -> None:
    failing.errors = [Unavailable("503"), Unavailable("lost", outcome_unknown=True)]
    await READS[operation](retrying)
    failing.errors = [Unavailable("503")] * 3
    with pytest.raises(Unavailable):
        await READS[operation](retrying)
    assert failing.errors == []


@pytest.mark.parametrize("operation", PUTS)
async def test_puts_are_retried_only_when_nothing_was_written(
    failing: FailingStore, retrying: RetryingObjectStore, operation: str, autojump_clock: MockClock
) -> None:
    failing.errors = [Unavailable("503"), Unavailable("409")]
    await PUTS[operation](retrying)
    failing.errors = [Unavailable("lost", outcome_unknown=True), Unavailable("never raised")]
    with pytest.raises(Unavailable, match="lost"):
        await PUTS[operation](retrying)
    assert len(failing.errors) == 1


async def test_other_errors_pass(failing: FailingStore, retrying: RetryingObjectStore) -> None:
    failing.errors = [Invalid("no such bucket")]
    with pytest.raises(Invalid):
        await retrying.get("a")
    with pytest.raises(NotFound):
        await retrying.get("absent")


class Recorded:
    """A recorder that keeps all it hears."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, int]] = []

    def observe(self, operation: str, outcome: str, seconds: float, size_bytes: int) -> None:
        assert seconds >= 0
        self.seen.append((operation, outcome, size_bytes))


async def test_each_operation_is_observed(failing: FailingStore) -> None:
    recorded = Recorded()
    store = InstrumentedObjectStore(failing, recorded)
    for call in (PUTS | READS).values():
        await call(store)
    assert recorded.seen == [
        ("put", "ok", 5),
        ("put_if_absent", "exists", 5),
        ("get", "ok", 3),
        ("get_suffix", "ok", 1),
        ("head", "ok", 0),
        ("list", "ok", 0),
        ("delete", "ok", 0),
    ]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (Unavailable("503"), "unavailable"),
        (Unavailable("lost", outcome_unknown=True), "unavailable_unknown"),
        (NotFound("gone"), "notfound"),
    ],
)
async def test_failures_are_observed(failing: FailingStore, error: KafscaleError, outcome: str) -> None:
    recorded = Recorded()
    failing.errors = [error]
    with pytest.raises(type(error)):
        await InstrumentedObjectStore(failing, recorded).put("b", b"12")
    assert recorded.seen == [("put", outcome, 2)]


async def test_cancelled_operations_are_observed(failing: FailingStore) -> None:
    recorded = Recorded()
    with trio.move_on_after(0):
        await InstrumentedObjectStore(failing, recorded).get("a")
    assert recorded.seen == [("get", "cancelled", 0)]


async def test_a_namespace_hides_what_is_beside_it() -> None:
    whole = MemoryObjectStore(ManualClock())
    await whole.put("ours-not/a", b"")
    ours = PrefixedObjectStore(whole, "ours")
    assert await ours.put_if_absent("a", b"1") is PutResult.CREATED
    assert await whole.get("ours/a") == b"1"
    assert [info.key for info in (await ours.list("")).objects] == ["a"]
    with pytest.raises(Invalid):
        PrefixedObjectStore(whole, "/ours")


class TestPrefixed(Contract):
    @pytest.fixture
    def store(self) -> ObjectStore:
        return PrefixedObjectStore(MemoryObjectStore(ManualClock()), "name/space")

    test_head_tells_size_and_time = None  # type: ignore[assignment]


class TestAllWrappersWithoutFaults(Contract):
    @pytest.fixture
    async def store(self, nursery: trio.Nursery) -> ObjectStore:
        rand = SeededRand(3)
        memory = MemoryObjectStore(ManualClock())
        faulty = FaultyObjectStore(memory, plan=FaultPlan(), rand=rand, nursery=nursery)
        measured = InstrumentedObjectStore(faulty, Recorded())
        return RetryingObjectStore(measured, policy=RetryPolicy(), rand=rand)

    test_head_tells_size_and_time = None  # type: ignore[assignment]
