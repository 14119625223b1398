"""Who gets what: balance, stickiness, fewest moves, spread over owners and zones."""

from collections import Counter
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from libs.model.ids import OwnerId, Partition, TopicId, TopicPartition
from services.metadata.assignment import Candidate, Move, place, rebalance, slack

Today = dict[TopicPartition, OwnerId]


def partitions(topic: int, count: int) -> list[TopicPartition]:
    return [TopicPartition(TopicId(UUID(int=topic)), Partition(index)) for index in range(count)]


def candidates(count: int, *, zones: int = 1) -> list[Candidate]:
    return [
        Candidate(owner_id=OwnerId(f"owner-{number}"), zone=f"z{number % zones}") for number in range(count)
    ]


def counts(today: Today, owners: list[Candidate]) -> list[int]:
    held = Counter(today.values())
    return [held[owner.owner_id] for owner in owners]


quick = settings(deadline=None, max_examples=40)
topics = st.lists(st.integers(1, 30), min_size=1, max_size=4)
clusters = st.integers(1, 7)


def all_of(sizes: list[int]) -> list[TopicPartition]:
    return [at for topic, size in enumerate(sizes) for at in partitions(topic, size)]


def settle(owners: list[Candidate], today: Today, *, moves_max: int = 10_000) -> list[Move]:
    moves = rebalance(owners, today, moves_max=moves_max)
    for move in moves:
        assert today[move.at] == move.source
        today[move.at] = move.target
    return moves


@quick
@given(topics, clusters)
def test_new_partitions_are_balanced(sizes: list[int], owners: int) -> None:
    everyone = candidates(owners)
    placed = place(everyone, all_of(sizes), {})
    assert set(placed) == set(all_of(sizes))
    held = counts(placed, everyone)
    assert max(held) - min(held) <= 1 + slack(len(placed), owners)
    assert rebalance(everyone, placed, moves_max=100) == []


@quick
@given(topics, clusters)
def test_a_topic_that_is_created_alone_spreads_over_all_owners(sizes: list[int], owners: int) -> None:
    everyone = candidates(owners)
    (size,) = sizes[:1]
    held = counts(place(everyone, partitions(0, size), {}), everyone)
    assert max(held) - min(held) <= 1


@quick
@given(topics, clusters, clusters)
def test_the_answer_is_the_same_everywhere(sizes: list[int], owners: int, rotation: int) -> None:
    everyone = candidates(owners)
    turned = everyone[rotation % owners :] + everyone[: rotation % owners]
    assert place(everyone, all_of(sizes), {}) == place(turned, all_of(sizes), {})


@quick
@given(topics, st.integers(2, 7), st.integers(0, 6))
def test_when_an_owner_goes_only_its_partitions_move(sizes: list[int], owners: int, gone: int) -> None:
    everyone = candidates(owners)
    today = place(everyone, all_of(sizes), {})
    left = [owner for owner in everyone if owner.owner_id != f"owner-{gone % owners}"]
    orphans = [at for at, owner_id in today.items() if owner_id == f"owner-{gone % owners}"]
    after = place(left, orphans, today)
    assert set(after) == set(orphans)
    held = counts({**today, **after}, left)
    assert max(held) - min(held) <= 1 + slack(len(today), owners) + slack(len(today), len(left))


@quick
@given(topics, clusters, st.integers(1, 3))
def test_new_owners_get_their_share_by_the_fewest_moves(sizes: list[int], owners: int, joining: int) -> None:
    before, everyone = candidates(owners), candidates(owners + joining)
    today = place(before, all_of(sizes), {})
    start = counts(today, everyone)
    moves = settle(everyone, today)
    held = counts(today, everyone)
    allowed = 1 + slack(len(today), len(everyone))
    assert max(held) - min(held) <= allowed
    # Nothing moves twice, and nothing moves between owners that were there before.
    assert len({move.at for move in moves}) == len(moves)
    assert all(int(move.target.removeprefix("owner-")) >= owners for move in moves)
    # Fewer moves would leave someone over the bound: every mover was above the mean, every taker below.
    assert len(moves) == sum(max(0, was - now) for was, now in zip(start, held, strict=True))


@quick
@given(
    topics,
    st.integers(2, 6),
    st.data(),
)
def test_any_map_settles_and_then_stays(sizes: list[int], owners: int, data: st.DataObject) -> None:
    everyone = candidates(owners)
    today: Today = {at: OwnerId(f"owner-{data.draw(st.integers(0, owners - 1))}") for at in all_of(sizes)}
    ideal = -(-len(today) // owners)
    over = sum(max(0, held - ideal) for held in counts(today, everyone))
    moves = settle(everyone, today)
    assert len(moves) <= over + owners
    assert settle(everyone, today) == []


@quick
@given(topics, st.integers(2, 6), st.integers(1, 5))
def test_moves_are_limited_and_add_up(sizes: list[int], owners: int, moves_max: int) -> None:
    everyone = candidates(owners)
    at_once: Today = dict.fromkeys(all_of(sizes), OwnerId("owner-0"))
    in_steps = dict(at_once)
    settle(everyone, at_once)
    while moves := settle(everyone, in_steps, moves_max=moves_max):
        assert len(moves) <= moves_max
    assert sorted(counts(in_steps, everyone)) == sorted(counts(at_once, everyone))


def test_a_topic_spreads_over_zones() -> None:
    everyone = [
        Candidate(owner_id=OwnerId("a-0"), zone="a"),
        Candidate(owner_id=OwnerId("a-1"), zone="a"),
        Candidate(owner_id=OwnerId("b-0"), zone="b"),
        Candidate(owner_id=OwnerId("b-1"), zone="b"),
    ]
    for topic in range(50):
        placed = place(everyone, partitions(topic, 2), {})
        assert {owner_id[0] for owner_id in placed.values()} == {"a", "b"}


def test_a_busy_topic_is_what_moves_to_a_new_owner() -> None:
    """Of two topics on one owner, both spread: not one goes and the other stays."""
    today: Today = dict.fromkeys(all_of([8, 8]), OwnerId("owner-0"))
    settle(candidates(2), today)
    for topic in range(2):
        held = [today[at] for at in partitions(topic, 8)]
        assert held.count(OwnerId("owner-0")) == 4


def test_nobody_is_there() -> None:
    assert place([], partitions(0, 3), {}) == {}
    assert rebalance([], {}, moves_max=5) == []
    assert rebalance(candidates(1), dict.fromkeys(partitions(0, 3), OwnerId("owner-0")), moves_max=5) == []


def test_a_tenth_more_moves_nothing_in_a_large_cluster() -> None:
    everyone = candidates(2)
    today: Today = {at: OwnerId("owner-0") for at in partitions(0, 104)}
    today |= {at: OwnerId("owner-1") for at in partitions(1, 100)}
    assert rebalance(everyone, today, moves_max=100) == []
