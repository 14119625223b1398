"""The contract as test cases: each adapter's test file subclasses `Contract` with its own `store` fixture.

Owns: what the port promises, by example. Does not own: faults and processes, which differ per adapter.
"""

import time

import pytest
import trio

from libs.model.errors import Invalid, NotFound, Reason
from libs.objectstore.port import Buffer, ObjectStore, PutResult


async def put_all(store: ObjectStore, *keys: str) -> None:
    for key in keys:
        assert await store.put_if_absent(key, key.encode()) is PutResult.CREATED


async def listed(store: ObjectStore, prefix: str, *, start_after: str = "", limit: int = 1000) -> list[str]:
    page = await store.list(prefix, start_after=start_after, limit=limit)
    return [info.key for info in page.objects]


class Contract:
    """What every store does."""

    async def test_the_first_conditional_put_wins_for_ever(self, store: ObjectStore) -> None:
        assert await store.put_if_absent("wal/s/1", b"first") is PutResult.CREATED
        assert await store.put_if_absent("wal/s/1", b"second") is PutResult.EXISTS
        assert await store.put_if_absent("wal/s/1", b"first") is PutResult.EXISTS
        assert await store.get("wal/s/1") == b"first"

    async def test_racing_writers_have_one_winner_each(self, store: ObjectStore) -> None:
        for round_number in range(5):
            key, winners = f"race/{round_number}", list[bytes]()

            async def write(body: bytes, key: str = key, winners: list[bytes] = winners) -> None:
                if await store.put_if_absent(key, body) is PutResult.CREATED:
                    winners.append(body)

            async with trio.open_nursery() as nursery:
                for number in range(16):
                    nursery.start_soon(write, b"%d" % number)
            assert winners == [await store.get(key)]

    async def test_an_unconditional_put_replaces(self, store: ObjectStore) -> None:
        await store.put("a", b"one")
        await store.put("a", b"other")
        assert await store.get("a") == b"other"
        assert await store.put_if_absent("a", b"third") is PutResult.EXISTS

    async def test_a_body_may_come_in_pieces_of_any_kind(self, store: ObjectStore) -> None:
        large = bytes(range(256)) * 2048
        pieces: list[Buffer] = [
            b"head",
            bytearray(b""),
            memoryview(large)[7:],
            bytearray(b"tail"),
            *([b"xy"] * 3000),
        ]
        assert await store.put_if_absent("pieces", pieces) is PutResult.CREATED
        assert await store.get("pieces") == b"".join(pieces)
        assert (await store.head("pieces")).size_bytes == len(b"".join(pieces))

    async def test_an_empty_object(self, store: ObjectStore) -> None:
        assert await store.put_if_absent("empty", b"") is PutResult.CREATED
        assert await store.put_if_absent("also-empty", [b"", b""]) is PutResult.CREATED
        assert await store.get("empty") == b""
        assert await store.get("empty", start=3, length=4) == b""
        assert await store.get_suffix("empty", 8) == (b"", 0)
        assert (await store.head("also-empty")).size_bytes == 0

    async def test_ranges(self, store: ObjectStore) -> None:
        await store.put("digits", b"0123456789")
        assert await store.get("digits", start=3) == b"3456789"
        assert await store.get("digits", start=3, length=4) == b"3456"
        assert await store.get("digits", start=0, length=1) == b"0"
        assert await store.get("digits", start=8, length=40) == b"89"
        assert await store.get("digits", start=10, length=1) == b""
        assert await store.get("digits", start=99) == b""
        assert await store.get_suffix("digits", 4) == (b"6789", 10)
        assert await store.get_suffix("digits", 99) == (b"0123456789", 10)

    async def test_what_is_not_there_is_not_found(self, store: ObjectStore) -> None:
        await put_all(store, "there/is")
        for key in ("nothing", "there", "there/is-not", "there/is/not"):
            for call in (
                lambda key=key: store.get(key),
                lambda key=key: store.get(key, start=5, length=1),
                lambda key=key: store.get_suffix(key, 1),
                lambda key=key: store.head(key),
            ):
                with pytest.raises(NotFound) as caught:
                    await call()
                assert caught.value.reason is Reason.NO_SUCH_OBJECT

    async def test_head_tells_size_and_time(self, store: ObjectStore) -> None:
        before_ms = time.time_ns() // 1_000_000
        await store.put("timed", b"12345")
        info = await store.head("timed")
        assert (info.key, info.size_bytes) == ("timed", 5)
        assert before_ms - 2000 <= info.modified_ms <= time.time_ns() // 1_000_000 + 2000

    async def test_lists_are_in_key_order_across_folders(self, store: ObjectStore) -> None:
        keys = ["b", "a/b", "a-b", "a.b/c", "a/b-c/d", "a/é", "a/z", "aa/b", "B/c", "a/10", "a/9", "ä"]
        await put_all(store, *keys)
        assert await listed(store, "") == sorted(keys, key=str.encode)
        assert await listed(store, "a/") == ["a/10", "a/9", "a/b", "a/b-c/d", "a/z", "a/é"]
        assert await listed(store, "a/b") == ["a/b", "a/b-c/d"]
        assert await listed(store, "a") == ["a-b", "a.b/c", *await listed(store, "a/"), "aa/b"]
        assert await listed(store, "nothing") == []

    async def test_a_list_goes_on_strictly_after_a_key_that_need_not_exist(self, store: ObjectStore) -> None:
        keys = [f"wal/{session}/{seq:020d}.wal" for session in "xy" for seq in range(6)]
        await put_all(store, *keys)
        assert await listed(store, "wal/x/", start_after=keys[2]) == keys[3:6]
        assert await listed(store, "wal/", start_after="wal/x/00000000000000000003") == keys[3:]
        assert await listed(store, "wal/y/", start_after="a") == keys[6:]
        assert await listed(store, "wal/x/", start_after="wal/y") == []
        assert await listed(store, "wal/", start_after=keys[-1]) == []

    async def test_pages(self, store: ObjectStore) -> None:
        keys = [f"p/{number}" for number in range(7)]
        await put_all(store, *keys)
        seen: list[str] = []
        truncated = True
        while truncated:
            page = await store.list("p/", start_after=seen[-1] if seen else "", limit=3)
            assert len(page.objects) <= 3
            seen += [info.key for info in page.objects]
            truncated = page.truncated
        assert seen == keys
        assert not (await store.list("p/", limit=7)).truncated
        assert (await store.list("p/", limit=6)).truncated

    async def test_delete_is_batched_and_forgiving(self, store: ObjectStore) -> None:
        keys = [f"d/{number}" for number in range(5)]
        await put_all(store, *keys)
        await store.delete([*keys[:3], "d/never-was"])
        await store.delete([])
        assert await listed(store, "d/") == keys[3:]
        assert await store.put_if_absent(keys[0], b"again") is PutResult.CREATED

    async def test_wrong_requests_are_refused(self, store: ObjectStore) -> None:
        for key in ("", "/a", "a/", "a//b", "a/../b", "./a", "a\nb", "a\0b", "x" * 1025):
            with pytest.raises(Invalid):
                await store.put_if_absent(key, b"")
            with pytest.raises(Invalid):
                await store.get(key)
            with pytest.raises(Invalid):
                await store.delete(["fine", key])
        with pytest.raises(Invalid):
            await store.get("a", start=-1)
        with pytest.raises(Invalid):
            await store.get("a", length=0)
        with pytest.raises(Invalid):
            await store.list("", limit=1001)

    async def test_a_cancelled_call_leaves_a_store_that_works(self, store: ObjectStore) -> None:
        for number in range(5):
            with trio.move_on_after(0):
                await store.put_if_absent(f"c/{number}", b"x" * 100_000)
            with trio.move_on_after(0):
                await store.get(f"c/{number}")
        for key in await listed(store, "c/"):
            assert await store.get(key) == b"x" * 100_000
        assert await store.put_if_absent("c/last", b"y") is PutResult.CREATED
