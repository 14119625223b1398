"""Every order of a writer, sealers, a collector and a late network on one chain, on small bounds.

With the rules kept no promise is ever broken. With any one of them weakened the search finds a shortest way
to break the promise that the rule is for; run with -s to read the counts and the ways.
"""

import sys
from collections.abc import Iterable
from functools import partial

import pytest

from tests.model.chain import steps
from tests.model.explore import Explored, explore
from tests.model.promises import Promise, broken_promises, finishes_alone
from tests.model.rules import KEPT, WINDOW, Rules
from tests.model.world import Sealer, World

ONE = (Sealer(),)
TWO = ONE * 2
STATES_MAX = 400_000

SCENARIOS = {
    "two sealers, a start that moves": World(sealers=TWO, moves_left=1),
    "two sealers, a seal that is late": World(sealers=TWO, late_seals_left=1),
    "one sealer, everything late, a start that moves twice": World(
        sealers=ONE, moves_left=2, again_left=1, late_seals_left=1
    ),
    "two sealers who search from an old start": World(
        data=0b010,
        landed=0b011,
        succeeded=0b011,
        start=1,
        needed=1,
        again_left=1,
        late_seals_left=1,
        sealers=(Sealer.who_searches_from(0), Sealer.who_searches_from(0)),
    ),
}
RACE = World(sealers=TWO, moves_left=1, again_left=1)
LATE_SEAL = World(sealers=TWO, late_seals_left=1)


def search(
    firsts: Iterable[World], rules: Rules, *, promise: Promise | None = None
) -> Explored[World, Promise]:
    """All states; or the way to one where `promise` (None: any) is broken."""

    def broken(world: World) -> Promise | None:
        found = broken_promises(world, rules)
        return next((each for each in found if promise in (None, each)), None)

    return explore(firsts, steps=partial(steps, rules=rules), broken=broken, states_max=STATES_MAX)


def report(told: str) -> None:
    """For who runs this with -s."""
    sys.stdout.write(f"{told}\n")


def dead_writers(rules: Rules) -> list[World]:
    """All that a writer may leave behind: what landed, what it knew. The rest may land later."""
    alone = search([World()], rules)
    left = [world for world in alone.parents if world.objects == World().objects and not world.closed]
    return [world._replace(alive=False, sealers=ONE) for world in left]


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_promise_holds_in_every_state(name: str) -> None:
    explored = search([SCENARIOS[name]], KEPT)
    report(f"\n{name}: {explored.describe()}")
    assert explored.broken is None, explored.describe()
    # The race is real: histories end in different places, and many acknowledge something first.
    assert len(set[int]().union(*(world.ends for world in explored.parents))) > 1
    left_alone = {
        (sealer, world.data, world.seals, world.start)
        for world in explored.parents
        for sealer in world.sealers
    }
    assert all(finishes_alone(*each) for each in left_alone)


def test_one_round_of_seals_stops_a_dead_writer() -> None:
    explored = search(dead_writers(KEPT), KEPT)
    report(f"\na dead writer: {explored.describe()}")
    assert explored.broken is None, explored.describe()


@pytest.mark.parametrize(
    ("rules", "promise"),
    [
        pytest.param(Rules(if_none_match=False), Promise.ONE_END, id="1 a PUT replaces what is there"),
        pytest.param(
            Rules(if_none_match=False), Promise.STORED, id="1 a seal replaces what was acknowledged"
        ),
        pytest.param(Rules(in_order=False), Promise.NOTHING_BEYOND, id="4 acknowledged out of order"),
        pytest.param(Rules(taken_is_resolved=False), Promise.NOTHING_BEYOND, id="5 a 412 taken for success"),
        pytest.param(Rules(missing_is_failure=False), Promise.STORED, id="5 a 404 taken for success"),
        pytest.param(
            Rules(missing_is_failure=False), Promise.NOTHING_BEYOND, id="5 a 404 taken for success, sealed"
        ),
        pytest.param(Rules(markers_listed=False), Promise.NOT_CUT_OFF, id="8 no LIST of markers"),
        pytest.param(
            Rules(found_seal_is_checked=False), Promise.NOT_CUT_OFF, id="8 no LIST where a seal was found"
        ),
        pytest.param(Rules(listed_after_seal=False), Promise.NOT_CUT_OFF, id="8 LIST before the seal"),
        pytest.param(
            Rules(start_from_bucket=False), Promise.NOT_CUT_OFF, id="8 an old start from the metadata store"
        ),
        pytest.param(
            Rules(marker_first=False), Promise.NOTHING_BEYOND, id="8 deleted before the marker is there"
        ),
        pytest.param(Rules(only_prefix=False), Promise.NOTHING_BEYOND, id="8 a hole deleted, not a prefix"),
        pytest.param(
            Rules(only_owner_moves_live=False), Promise.STORED, id="8 another moves a live chain's start"
        ),
        pytest.param(
            Rules(start_within_durable=False), Promise.STORED, id="8 the owner's start passes durable"
        ),
        pytest.param(
            Rules(start_within_needed=False), Promise.STORED, id="16 a start passes what is still named"
        ),
        pytest.param(Rules(ending_seal_stays=False), Promise.NOTHING_BEYOND, id="9 the ending seal deleted"),
        pytest.param(
            Rules(dead_start_within_end=False),
            Promise.NOTHING_BEYOND,
            id="9 a dead chain's start passes its end",
        ),
        pytest.param(
            Rules(greatest_marker_stays=False), Promise.ONE_END, id="9 the marker of a dead chain deleted"
        ),
    ],
)
def test_a_weakened_rule_breaks_its_promise(rules: Rules, promise: Promise) -> None:
    explored = search([RACE], rules, promise=promise)
    report(f"\n{rules}: {explored.describe()}")
    assert explored.broken is promise


def test_a_lost_seal_that_counts_as_written_breaks_the_one_end() -> None:
    explored = search([LATE_SEAL], Rules(lost_seal_is_read=False), promise=Promise.ONE_END)
    report(f"\n{explored.describe()}")
    assert explored.broken is Promise.ONE_END


@pytest.mark.parametrize(
    "rules",
    [
        pytest.param(Rules(seal_window=0), id="7 a seal at n alone"),
        pytest.param(Rules(seal_window=WINDOW - 1), id="7 seals at n to n + W - 1"),
        pytest.param(Rules(window_from_first_unfinished=False), id="7 W counts PUTs in flight"),
    ],
)
def test_a_weakened_window_lets_a_dead_writer_outrun_its_seals(rules: Rules) -> None:
    explored = search(dead_writers(rules), rules)
    report(f"\n{rules}: {explored.describe()}")
    assert explored.broken is Promise.ONE_ROUND
