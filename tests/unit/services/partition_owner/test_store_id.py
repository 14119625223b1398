"""The id that an object store gets from the first owner that uses it."""

import pytest
import trio

from libs.concurrency.clock import ManualClock
from libs.concurrency.rand import SeededRand
from libs.model.errors import Corrupt
from libs.model.ids import StoreId
from libs.objectstore.memory import MemoryObjectStore
from libs.segments.keys import STORE_ID_KEY
from services.partition_owner.store_id import ensure_store_id


async def test_first_owners_that_race_agree() -> None:
    store = MemoryObjectStore(ManualClock())
    found: list[StoreId] = []

    async def start(seed: int) -> None:
        found.append(await ensure_store_id(store, SeededRand(seed)))

    async with trio.open_nursery() as nursery:
        for seed in range(8):
            nursery.start_soon(start, seed)
    assert len(set(found)) == 1
    assert await ensure_store_id(store, SeededRand(99)) == found[0]


async def test_two_stores_are_never_taken_for_each_other() -> None:
    one, other = MemoryObjectStore(ManualClock()), MemoryObjectStore(ManualClock())
    rand = SeededRand(1)
    assert await ensure_store_id(one, rand) != await ensure_store_id(other, rand)


async def test_a_damaged_id_is_not_replaced() -> None:
    store = MemoryObjectStore(ManualClock())
    await store.put(STORE_ID_KEY, b"what is this")
    with pytest.raises(Corrupt, match="meta/store-id"):
        await ensure_store_id(store, SeededRand(1))
    assert await store.get(STORE_ID_KEY) == b"what is this"
