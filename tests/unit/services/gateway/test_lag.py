"""Consumer lag: what was committed beside what is durable, bounded and never guessed."""

from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import trio
import trio.testing

from libs.clients.group_types import OffsetCommit
from libs.clients.owner import ListedOffset, OffsetQuery
from libs.model.errors import Unavailable
from libs.model.ids import GroupId, Offset, Partition, TopicId, TopicPartition
from services.gateway.lag import ASK_SECONDS, COMMIT_SECONDS_MAX, ROWS_MAX, ConsumerLag

TOPIC = TopicId(UUID(int=1))
GROUP = GroupId("billing")


class FakeLink:
    """An owner that knows one high watermark, or is away."""

    def __init__(self) -> None:
        self.watermark = 10
        self.away = False
        self.asked = 0

    async def list_offsets(self, queries: list[OffsetQuery]) -> list[ListedOffset]:
        self.asked += 1
        if self.away:
            raise Unavailable("away")
        return [
            ListedOffset(error=None, offset=self.watermark, timestamp_ms=-1, leader_epoch=0) for _ in queries
        ]


def lag_of(link: FakeLink) -> ConsumerLag:
    view = SimpleNamespace(topics={TOPIC: SimpleNamespace(name="orders")})
    return ConsumerLag(
        view=cast("Any", view), owners=cast("Any", SimpleNamespace(fetch_link=lambda _at: link))
    )


def commit(offset: int, partition: int = 0) -> OffsetCommit:
    return OffsetCommit(at=TopicPartition(TOPIC, Partition(partition)), offset=Offset(offset))


async def test_the_lag_is_what_lies_between(autojump_clock: trio.testing.MockClock) -> None:
    link = FakeLink()
    lag = lag_of(link)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lag.run)
        lag.committed(GROUP, [commit(7)])
        assert lag.read() == [], "nobody asked for the high watermark yet"
        await trio.sleep(ASK_SECONDS + 1)
        assert lag.read() == [({"group": "billing", "topic": "orders", "partition": "0"}, 3.0)]
        lag.committed(GROUP, [commit(10)])
        assert lag.read()[0][1] == 0.0
        nursery.cancel_scope.cancel()


async def test_an_owner_that_is_away_changes_nothing(autojump_clock: trio.testing.MockClock) -> None:
    link = FakeLink()
    lag = lag_of(link)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lag.run)
        lag.committed(GROUP, [commit(4)])
        await trio.sleep(ASK_SECONDS + 1)
        link.away = True
        await trio.sleep(ASK_SECONDS)
        assert [value for _labels, value in lag.read()] == [6.0]
        nursery.cancel_scope.cancel()


async def test_a_commit_that_is_not_repeated_is_forgotten(autojump_clock: trio.testing.MockClock) -> None:
    link = FakeLink()
    lag = lag_of(link)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lag.run)
        lag.committed(GROUP, [commit(4)])
        await trio.sleep(COMMIT_SECONDS_MAX + 2 * ASK_SECONDS)
        assert lag.read() == []
        asked = link.asked
        await trio.sleep(10 * ASK_SECONDS)
        assert link.asked == asked, "with nothing to show nobody is asked"
        nursery.cancel_scope.cancel()


async def test_rows_are_bounded_and_the_oldest_goes() -> None:
    lag = lag_of(FakeLink())
    lag.committed(GROUP, [commit(0, partition) for partition in range(ROWS_MAX + 5)])
    kept = [at.partition for _group, at in lag._commits]
    assert (len(kept), kept[0]) == (ROWS_MAX, 5)
