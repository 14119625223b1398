"""A mirror keeps up through ends of streams, 410, 403 and outages."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from libs.concurrency.rand import SeededRand
from libs.model.errors import KafscaleError, Unavailable
from services.operator.kinds import CONFIG_MAPS, Key, Kind, Object
from services.operator.kube import Expired, Forbidden, WatchEvent
from services.operator.mirror import Mirror
from tests.unit.services.operator.fake_kube import FakeKube

KEY = Key(CONFIG_MAPS.kind, "default", "a")


def config(name: str = "a", value: str = "1", labels: dict[str, str] | None = None) -> Object:
    return {
        "apiVersion": "v1",
        "kind": CONFIG_MAPS.kind,
        "metadata": {"name": name, "namespace": "default", "labels": labels or {"app": "ours"}},
        "data": {"value": value},
    }


@asynccontextmanager
async def mirrored(kube: FakeKube) -> AsyncIterator[tuple[Mirror, list[str]]]:
    heard: list[str] = []
    mirror = Mirror(
        kube,
        CONFIG_MAPS,
        namespace=None,
        selector="app=ours",
        rand=SeededRand(1),
        on_change=lambda item: heard.append(item["metadata"]["name"]),
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mirror.run)
        yield mirror, heard
        nursery.cancel_scope.cancel()


def value(mirror: Mirror) -> str | None:
    item = mirror.get(KEY)
    return None if item is None else item["data"]["value"]


async def test_it_lists_and_follows(autojump_clock: object) -> None:
    kube = FakeKube()
    kube.put(config())
    kube.put(config("other", labels={"app": "theirs"}))
    async with mirrored(kube) as (mirror, heard):
        await mirror.wait_listed()
        assert [item["metadata"]["name"] for item in mirror.items()] == ["a"]
        kube.put(config(value="2"))
        await trio.sleep(1)
        assert value(mirror) == "2"
        kube.remove(KEY)
        await trio.sleep(1)
        assert value(mirror) is None
        assert heard == ["a", "a", "a"]
        assert mirror.relists == 1


async def test_a_stream_that_ends_is_resumed_without_a_list(autojump_clock: object) -> None:
    kube = FakeKube()
    kube.put(config())
    async with mirrored(kube) as (mirror, _heard):
        await mirror.wait_listed()
        kube.break_watches()
        kube.put(config(value="2"))
        await trio.sleep(10)
        assert value(mirror) == "2"
        assert mirror.relists == 1


async def test_410_lists_again_and_tells_what_went_meanwhile(autojump_clock: object) -> None:
    kube = FakeKube()
    kube.put(config())
    kube.put(config("b"))
    async with mirrored(kube) as (mirror, heard):
        await mirror.wait_listed()
        heard.clear()
        kube.down = True
        kube.break_watches()
        await trio.sleep(10)
        assert value(mirror) == "1", "an outage leaves the mirror as it was"
        kube.remove(KEY)
        kube.compact()
        kube.down = False
        await trio.sleep(60)
        assert value(mirror) is None
        assert heard == ["a"]
        assert mirror.relists == 2


async def test_403_is_said_and_tried_again(autojump_clock: object) -> None:
    kube = FakeKube()
    kube.forbidden = {"list configmaps"}
    kube.put(config())
    async with mirrored(kube) as (mirror, _heard):
        await mirror.wait_listed()
        assert mirror.missing == "list configmaps"
        kube.forbidden = set()
        await trio.sleep(60)
        assert mirror.missing is None
        assert value(mirror) == "1"


async def test_a_404_empties_it_where_a_list_meets_it_too(autojump_clock: object) -> None:
    kube = FakeKube()
    kube.absent = {"watch configmaps"}
    kube.put(config())
    async with mirrored(kube) as (mirror, heard):
        await trio.sleep(60)
        assert value(mirror) == "1"
        assert heard == ["a"]
        kube.absent = set()
        await trio.sleep(60)
        kube.put(config(value="2"))
        await trio.sleep(1)
        assert value(mirror) == "2"
        kube.absent = {"list configmaps", "watch configmaps"}
        kube.break_watches()
        await trio.sleep(60)
        assert value(mirror) is None
        kube.absent = set()
        await trio.sleep(60)
        assert value(mirror) == "2", "it is installed again"


class Refusing(FakeKube):
    """Every watch ends with an error at once, as far as a test says so."""

    error: KafscaleError | None = None
    watches = 0

    async def _events(
        self, kind: Kind, namespace: str | None, version: int, selector: str
    ) -> AsyncIterator[WatchEvent]:
        self.watches += 1
        if self.error is not None:
            raise self.error
        async for event in super()._events(kind, namespace, version, selector):
            yield event


@pytest.mark.parametrize("error", [Expired("too old"), Unavailable("away"), Forbidden("no", permission="x")])
async def test_it_asks_less_and_less_often_where_a_watch_fails(
    autojump_clock: object, error: KafscaleError
) -> None:
    kube = Refusing()
    kube.error = error
    kube.put(config())
    async with mirrored(kube) as (mirror, _heard):
        await trio.sleep(600)
        assert kube.watches < 60
        kube.error = None
        await trio.sleep(60)
        assert mirror.missing is None
        assert value(mirror) == "1"
        kube.watches = 0
        kube.break_watches()
        kube.put(config(value="2"))
        await trio.sleep(2)
        assert value(mirror) == "2", "it has forgotten the failures"
