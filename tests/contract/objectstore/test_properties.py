"""Any sequence of operations gives the same answers on a real adapter as on the memory model."""

from collections.abc import Awaitable, Callable
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from libs.concurrency.clock import ManualClock
from libs.concurrency.rand import SystemRand
from libs.model.errors import KafscaleError
from libs.objectstore.directory import open_directory_store
from libs.objectstore.memory import MemoryObjectStore
from libs.objectstore.pools import store_threads
from libs.objectstore.port import ListPage, ObjectStore
from libs.objectstore.prefixed import PrefixedObjectStore
from libs.objectstore.s3 import S3Settings, open_s3_store

Call = Callable[[ObjectStore], Awaitable[object]]

_components = st.sampled_from(["a", "b", "a-b", "a.d", "a.p", "%", "%41", "é", "A", "a!", "q" * 200])
_long = st.sampled_from(["a", "a.d", "x" * 240, "x" * 241, "x" * 240 + "!", "x" * 480 + ".p"])
# MinIO keeps objects as folders: there, no key may be the folder of another.
flat_keys = st.builds(
    lambda path, last: "/".join([*path, last + "#"]), st.lists(_components, max_size=2), _components
)
any_keys = st.lists(_components | _long, min_size=1, max_size=3).map("/".join)
_bodies = st.binary(max_size=20)


def steps(keys: st.SearchStrategy[str]) -> st.SearchStrategy[list[tuple[str, Call]]]:
    """Named operations: the name is shown when an example fails."""
    prefixes = st.one_of(
        st.just(""), keys, keys.map(lambda key: key[: len(key) // 2]), keys.map(lambda key: key + "/")
    )
    puts = st.builds(_put, keys, _bodies, st.booleans())
    gets = st.builds(_get, keys, st.integers(0, 25), st.none() | st.integers(1, 25))
    tails = st.builds(_suffix, keys, st.integers(1, 25))
    heads = st.builds(_head, keys)
    lists = st.builds(_list, prefixes, st.one_of(st.just(""), keys, prefixes), st.integers(1, 4))
    deletes = st.builds(_delete, st.lists(keys, max_size=3))
    return st.lists(st.one_of(puts, puts, puts, gets, tails, heads, lists, lists, deletes), max_size=25)


def _put(key: str, body: bytes, unconditional: bool) -> tuple[str, Call]:
    if unconditional:
        return f"put {key}", lambda store: store.put(key, body)
    return f"put_if_absent {key}", lambda store: store.put_if_absent(key, [body[:3], memoryview(body)[3:]])


def _get(key: str, start: int, length: int | None) -> tuple[str, Call]:
    return f"get {key} {start} {length}", lambda store: store.get(key, start=start, length=length)


def _suffix(key: str, length: int) -> tuple[str, Call]:
    return f"get_suffix {key} {length}", lambda store: store.get_suffix(key, length)


def _head(key: str) -> tuple[str, Call]:
    async def call(store: ObjectStore) -> object:
        return (await store.head(key)).size_bytes

    return f"head {key}", call


def _list(prefix: str, start_after: str, limit: int) -> tuple[str, Call]:
    return (
        f"list {prefix!r} after {start_after!r} limit {limit}",
        lambda store: store.list(prefix, start_after=start_after, limit=limit),
    )


def _delete(keys: list[str]) -> tuple[str, Call]:
    return f"delete {keys}", lambda store: store.delete(keys)


async def check(store: ObjectStore, operations: list[tuple[str, Call]]) -> None:
    real = PrefixedObjectStore(store, f"example-{SystemRand().uuid()}")
    model = MemoryObjectStore(ManualClock())
    for name, call in operations:
        assert await _outcome(call, real) == await _outcome(call, model), name


async def _outcome(call: Call, store: ObjectStore) -> object:
    try:
        result = await call(store)
    except KafscaleError as error:
        return type(error), error.reason
    if isinstance(result, ListPage):
        return [(info.key, info.size_bytes) for info in result.objects], result.truncated
    return result


def examples(count: int) -> settings:
    """The fixtures used here are plain values: each example opens a store, and works in a part of its own."""
    slow = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    return settings(max_examples=count, deadline=None, suppress_health_check=slow)


@examples(150)
@given(steps(any_keys))
async def test_memory_behind_a_prefix(operations: list[tuple[str, Call]]) -> None:
    await check(MemoryObjectStore(ManualClock()), operations)


@examples(150)
@given(steps(any_keys))
async def test_directory(tmp_path: Path, operations: list[tuple[str, Call]]) -> None:
    threads = store_threads(puts_max=1, gets_max=1)
    async with open_directory_store(str(tmp_path), threads=threads, rand=SystemRand()) as store:
        await check(store, operations)


@examples(30)
@given(steps(flat_keys))
async def test_s3(s3_settings: S3Settings, operations: list[tuple[str, Call]]) -> None:
    threads = store_threads(puts_max=1, gets_max=1)
    async with open_s3_store(s3_settings, threads=threads, connections_max=2) as store:
        await check(store, operations)
