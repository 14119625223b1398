"""Reads by way of a copy: it can only help."""

import pytest
import trio
from trio.testing import MockClock

from libs.concurrency.clock import ManualClock
from libs.concurrency.rand import SeededRand
from libs.model.errors import Corrupt, Invalid, KafscaleError, NotFound, Unavailable
from libs.objectstore.memory import MemoryObjectStore
from libs.objectstore.port import ListPage
from libs.objectstore.read_bucket import CopyRecorder, ReadBucket, check_read_bucket


class Store(MemoryObjectStore):
    def __init__(self) -> None:
        super().__init__(ManualClock())
        self.error: KafscaleError | None = None
        self.asked: list[str] = []

    async def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        self.asked.append(key)
        if self.error is not None:
            raise self.error
        return await super().get(key, start=start, length=length)

    async def list(self, prefix: str, *, start_after: str = "", limit: int = 1000) -> ListPage:
        if self.error is not None:
            raise self.error
        return await super().list(prefix, start_after=start_after, limit=limit)


class Both:
    def __init__(self) -> None:
        self.bucket, self.copy = Store(), Store()
        self.reads = ReadBucket(bucket=self.bucket, copy=self.copy, rand=SeededRand(1))


@pytest.fixture
async def both() -> Both:
    both = Both()
    await both.bucket.put("a", b"0123456789")
    return both


async def test_what_the_copy_has_costs_the_bucket_nothing(both: Both) -> None:
    await both.copy.put("a", b"0123456789")
    assert await both.reads.get("a", start=2, length=3) == b"234"
    assert await both.reads.get("a") == b"0123456789"
    assert both.bucket.asked == []


async def test_a_copy_that_is_behind_is_asked_again_each_time(both: Both) -> None:
    assert await both.reads.get("a", start=2, length=3) == b"234"
    assert await both.reads.get("a") == b"0123456789"
    assert both.copy.asked == ["a", "a"]


async def test_that_it_is_nowhere_is_the_buckets_word(both: Both) -> None:
    with pytest.raises(NotFound):
        await both.reads.get("b")
    assert both.bucket.asked == ["b"]


async def test_an_object_that_ends_before_what_is_known_to_be_there(both: Both) -> None:
    await both.copy.put("a", b"0")
    assert await both.reads.get("a", start=2, length=3) == b"234"


@pytest.mark.parametrize("error", [Unavailable("away"), Invalid("403"), Corrupt("short")])
async def test_a_copy_that_fails_is_left_alone_for_a_while(
    both: Both, error: KafscaleError, mock_clock: MockClock
) -> None:
    both.copy.error = error
    for _ in range(3):
        assert await both.reads.get("a") == b"0123456789"
    assert len(both.copy.asked) == 1
    for failures in range(2, 10):
        mock_clock.jump(61)
        assert await both.reads.get("a") == b"0123456789"
        assert await both.reads.get("a") == b"0123456789"
        assert len(both.copy.asked) == failures
    both.copy.error = None
    await both.copy.put("a", b"0123456789")
    mock_clock.jump(61)
    before = len(both.bucket.asked)
    for _ in range(3):
        assert await both.reads.get("a") == b"0123456789"
    assert len(both.bucket.asked) == before


async def test_the_buckets_errors_are_told(both: Both) -> None:
    both.bucket.error = Unavailable("away")
    with pytest.raises(Unavailable):
        await both.reads.get("a")


async def test_the_check_refuses_what_stays_wrong(both: Both) -> None:
    await check_read_bucket(both.copy, "copy")
    both.copy.error = Unavailable("away")
    await check_read_bucket(both.copy, "copy")
    both.copy.error = Invalid("404 NoSuchBucket (create it or check KAFSCALE_S3_BUCKET)")
    with pytest.raises(Invalid, match=r"copy .*KAFSCALE_S3_READ_BUCKET.*s3:ListBucket"):
        await check_read_bucket(both.copy, "copy")


def test_it_is_measured_apart() -> None:
    seen: list[tuple[str, str]] = []

    class Recorded:
        def observe(self, operation: str, outcome: str, seconds: float, size_bytes: int) -> None:
            seen.append((operation, outcome))

    CopyRecorder(Recorded()).observe("get", "notfound", 0.1, 0)
    assert seen == [("read_bucket_get", "notfound")]


async def test_an_answer_that_trickles_is_not_waited_for(both: Both, autojump_clock: MockClock) -> None:
    async def trickling(key: str, *, start: int = 0, length: int | None = None) -> bytes:
        await trio.sleep(60)
        return b"late"

    both.copy.get = trickling  # type: ignore[method-assign]
    began = trio.current_time()
    assert await both.reads.get("a", start=2, length=3) == b"234"
    assert trio.current_time() - began == pytest.approx(3.0)
    assert await both.reads.get("a", start=2, length=3) == b"234"
    assert trio.current_time() - began == pytest.approx(3.0), "it is left alone for a while"
