"""The probe: passes on a good store, refuses the ways in which one may be bad, tidies up."""

from collections.abc import Sequence

import pytest
import trio

from libs.concurrency.clock import ManualClock
from libs.concurrency.rand import SeededRand
from libs.model.errors import Invalid, Unavailable
from libs.objectstore.memory import MemoryObjectStore
from libs.objectstore.port import Body, PutResult
from libs.objectstore.probe import probe, refuse_dangerous_rules


class IgnoresCondition(MemoryObjectStore):
    async def put_if_absent(self, key: str, body: Body) -> PutResult:
        await self.put(key, body)
        return PutResult.CREATED


class LooksThenWrites(MemoryObjectStore):
    """Checks the condition some time before it writes."""

    async def put_if_absent(self, key: str, body: Body) -> PutResult:
        taken = bool((await self.list(key)).objects)
        await trio.lowlevel.checkpoint()
        if not taken:
            await self.put(key, body)
        return PutResult.EXISTS if taken else PutResult.CREATED


class NobodyWins(MemoryObjectStore):
    async def put_if_absent(self, key: str, body: Body) -> PutResult:
        await super().put_if_absent(key, body)
        return PutResult.EXISTS


class ReturnsOtherBytes(MemoryObjectStore):
    async def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        return b"?" + await super().get(key, start=start, length=length)


class Unreachable(MemoryObjectStore):
    async def put_if_absent(self, key: str, body: Body) -> PutResult:
        raise Unavailable("nobody there")


async def test_a_good_store_passes_and_is_left_clean() -> None:
    store = MemoryObjectStore(ManualClock())
    await probe(store, rand=SeededRand(1))
    assert (await store.list("")).objects == ()


@pytest.mark.parametrize("bad", [IgnoresCondition, LooksThenWrites, NobodyWins, ReturnsOtherBytes])
async def test_a_bad_store_is_refused_and_left_clean(bad: type[MemoryObjectStore]) -> None:
    store = bad(ManualClock())
    with pytest.raises(Invalid, match="object store"):
        await probe(store, rand=SeededRand(1))
    assert (await store.list("")).objects == ()


async def test_a_store_that_is_away_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="nobody there"):
        await probe(Unreachable(ManualClock()), rand=SeededRand(1))


class Bucket:
    def __init__(self, *rules: str) -> None:
        self.rules = rules

    async def dangerous_rules(self, prefix: str) -> Sequence[str]:
        return self.rules


async def test_dangerous_rules_are_refused() -> None:
    await refuse_dangerous_rules(Bucket(), "")
    with pytest.raises(Invalid, match=r"'tidy' deletes.*KAFSCALE_S3_NAMESPACE"):
        await refuse_dangerous_rules(Bucket("rule 'tidy' deletes objects"), "")
