"""Every order in which a partition moves between two owners, on small bounds.

With the rules kept no promise is ever broken. With any one of them weakened the search finds a shortest way
to break the promise that the rule is for; run with -s to read the counts and the ways.
"""

import sys
from collections.abc import Callable, Mapping
from functools import partial

import pytest

from tests.model.explore import Explored, explore
from tests.model.partition.alone import comes_to_an_end, opened_by_a_fresh_one, still
from tests.model.partition.partition import steps
from tests.model.partition.promises import Promise, broken_promises
from tests.model.partition.rules import ASSIGNMENT, KEPT, STATE, Rules
from tests.model.partition.world import OPEN, OPENING, SENT, World

STATES_MAX = 100_000
A1, B1, A2 = range(3)
NOTHING = frozenset[str]()
ONLY_ASSIGNMENT, ONLY_STATE = frozenset({ASSIGNMENT}), frozenset({STATE})

SCENARIOS = {
    "three moves, three records": World(moves_left=3, records_left=3),
    "two moves, three records, an owner that comes back": World(
        moves_left=2, records_left=3, sessions_left=1
    ),
    "two moves, two records, a partition lost from sight": World(moves_left=2, records_left=2, hidden_left=1),
}
RACE = World(moves_left=2, records_left=2, sessions_left=1)


def acknowledged_epochs(world: World) -> set[int]:
    return {epoch for each in world.sessions for epoch, _ in each.records[: each.durable]}


def is_taken_over(world: World) -> bool:
    """Both owners acknowledged records, and the second one sealed the first."""
    first, second, *_ = world.sessions
    return first.sealed and first.durable > 0 and second.durable > 0


def has_zombie(world: World) -> bool:
    """One goes on under an epoch that is over, and acknowledges nothing, while the next one does."""
    return any(
        each.phase == OPEN and each.stuck and max(acknowledged_epochs(world), default=-1) > each.epoch
        for each in world.sessions
    )


def is_handed_over(world: World) -> bool:
    """Without a seal; the next owner went on at the offset of the release."""
    first, second, *_ = world.sessions
    return first.durable > 0 and not first.sealed and (1, first.durable) in second.records[: second.durable]


HAPPENS: Mapping[str, Callable[[World], bool]] = {
    "a dead owner's partition is taken over": is_taken_over,
    "a zombie goes on": has_zombie,
    "a partition is handed over": is_handed_over,
    "an opening is on its way while its session was taken for dead": lambda world: (
        world.sessions[A1].phase == OPENING and world.assigned.session != A1
    ),
    "a release is on its way": lambda world: any(each.phase == SENT for each in world.sessions),
}
HAPPENS_IN: Mapping[str, Mapping[str, Callable[[World], bool]]] = {
    "three moves, three records": {
        "three epochs have records": lambda world: acknowledged_epochs(world) >= {0, 1, 2},
        "one chain has two epochs": lambda world: (
            {epoch for epoch, _ in world.sessions[A1].records[: world.sessions[A1].durable]} >= {0, 2}
        ),
        "there were four epochs": lambda world: world.assigned.epoch == 3,
    },
    "two moves, three records, an owner that comes back": {
        "all three sessions acknowledged something": lambda world: (
            len(world.sessions) > A2 and all(each.durable for each in world.sessions)
        ),
        "a dead session's opening may still land": lambda world: (
            world.sessions[A1].over and any(each.state is not None for each in world.pending)
        ),
    },
    "two moves, two records, a partition lost from sight": {
        "an epoch that was opened again got a second record": lambda world: (
            not world.hidden_left and world.sessions[A1].records[:2] == ((0, 0), (0, 1))
        ),
    },
}


def search(world: World, rules: Rules, *, promise: Promise | None = None) -> Explored[World, Promise]:
    """All states; or the way to one where `promise` (None: any but OPENS) is broken."""

    def broken(world: World) -> Promise | None:
        if promise is Promise.OPENS:
            return None if comes_to_an_end(world, rules) else promise
        found = broken_promises(world, rules)
        return next((each for each in found if promise in (None, each)), None)

    return explore([world], steps=partial(steps, rules=rules), broken=broken, states_max=STATES_MAX)


def report(told: str) -> None:
    """For who runs this with -s."""
    sys.stdout.write(f"{told}\n")


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_promise_holds_in_every_state(name: str) -> None:
    explored = search(SCENARIOS[name], KEPT)
    report(f"\n{name}: {explored.describe()}")
    assert explored.broken is None, explored.describe()
    for what, happens in {**HAPPENS, **HAPPENS_IN[name]}.items():
        assert any(map(happens, explored.parents)), f"never: {what}"
    assert all(map(comes_to_an_end, explored.parents)), Promise.OPENS
    left = {still(world) for world in explored.parents}
    report(f"{len(left)} of them are different for a new owner")
    for world in left:
        opened = opened_by_a_fresh_one(world)
        assert opened is not None, Promise.OPENS
        assert not list(broken_promises(opened))


@pytest.mark.parametrize(
    ("rules", "promise"),
    [
        pytest.param(
            Rules(acknowledged_is_durable=False), Promise.FOUND, id="4 acknowledged before it is durable"
        ),
        pytest.param(
            Rules(predecessor_sealed=False), Promise.FOUND, id="10 opened before the predecessor is sealed"
        ),
        pytest.param(
            Rules(predecessor_sealed=False), Promise.ONE_VALUE, id="10 not sealed, two values of an offset"
        ),
        pytest.param(
            Rules(predecessor_sealed=False), Promise.FORWARD, id="10 not sealed, the epoch begins too low"
        ),
        pytest.param(
            Rules(position_first=False), Promise.FOUND, id="10 appended before the open position is written"
        ),
        pytest.param(
            Rules(predecessors_appended=False, position_sealed=False),
            Promise.FOUND,
            id="10 predecessors replaced",
        ),
        pytest.param(
            Rules(closed_recorded=False), Promise.FOUND, id="10 a predecessor removed without its range"
        ),
        pytest.param(
            Rules(own_flight_awaited=False),
            Promise.ONE_VALUE,
            id="10 opened again over records that are in flight",
        ),
        pytest.param(
            Rules(release_awaits_durable=False), Promise.WHOLE, id="11 released before all is durable"
        ),
        pytest.param(
            Rules(release_one_way=False), Promise.RELEASED, id="11 served again after a release without reply"
        ),
        pytest.param(
            Rules(release_one_way=False), Promise.FOUND, id="14 a release without reply taken for failure"
        ),
        pytest.param(
            Rules(releasing_refuses=False), Promise.FOUND, id="11 appends are taken while it is released"
        ),
        pytest.param(
            Rules(lost_open_is_read=False), Promise.FOUND, id="14 an opening without reply taken for success"
        ),
        pytest.param(
            Rules(lost_open_is_tried_again=False),
            Promise.OPENS,
            id="14 an opening without reply taken for failure",
        ),
        pytest.param(
            Rules(lost_release_is_sent_again=False),
            Promise.OPENS,
            id="14 a release without reply taken for success",
        ),
        pytest.param(Rules(open_compares=NOTHING), Promise.FOUND, id="14 an opening compares nothing"),
        pytest.param(
            Rules(open_compares=ONLY_STATE), Promise.EPOCHS, id="14 an opening compares no assignment"
        ),
        pytest.param(Rules(release_compares=NOTHING), Promise.FOUND, id="14 a release compares nothing"),
        pytest.param(
            Rules(release_compares=ONLY_STATE), Promise.EPOCHS, id="14 a release compares no assignment"
        ),
        pytest.param(
            Rules(controller_compares=ONLY_STATE),
            Promise.EPOCHS,
            id="10 the controller compares no assignment",
        ),
        pytest.param(
            Rules(controller_compares=ONLY_ASSIGNMENT, position_sealed=False),
            Promise.FOUND,
            id="10 the controller compares no state",
        ),
    ],
)
def test_a_weakened_rule_breaks_its_promise(rules: Rules, promise: Promise) -> None:
    explored = search(RACE, rules, promise=promise)
    report(f"\n{rules}: {explored.describe()}")
    assert explored.broken is promise


@pytest.mark.parametrize(
    "rules",
    [
        pytest.param(Rules(position_sealed=False), id="predecessors alone are sealed"),
        pytest.param(Rules(predecessors_appended=False), id="predecessors replaced"),
        pytest.param(Rules(controller_compares=ONLY_ASSIGNMENT), id="the controller compares no state"),
    ],
)
def test_predecessors_and_open_positions_stand_in_for_each_other(rules: Rules) -> None:
    """Who may still write is told twice: each of the two is enough, so both have to go wrong."""
    explored = search(RACE, rules)
    report(f"\n{rules}: {explored.describe()}")
    assert explored.broken is None, explored.describe()
