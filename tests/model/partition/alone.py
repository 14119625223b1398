"""Whether a session that is left alone comes to open the partition: nobody else does anything any more.

Owns: the promise that work comes to an end. Does not own: the steps (partition.py).
Rules: 1 all that the session does gets through; 2 who is over, or whose chain has ended, need not come to
anything: then the controller gives the partition to somebody else, which is asked about too.
"""

from itertools import chain

from tests.model.partition.metadata import landed, metadata_steps
from tests.model.partition.owners import hold_steps, landing_steps
from tests.model.partition.partition import canonical
from tests.model.partition.rules import KEPT, Rules
from tests.model.partition.transactions import adopt
from tests.model.partition.world import FRESH, OPEN, Session, World

STEPS_MAX = 50


def comes_to_an_end(world: World, rules: Rules = KEPT) -> bool:
    """Whether who has the partition now opens it, or gives it on."""
    holder = world.sessions[world.assigned.session]
    if holder.over or holder.sealed:
        return True
    return _left_alone(world, world.assigned.session, rules) is not None


def opened_by_a_fresh_one(world: World) -> World | None:
    """The world after the controller took everybody for dead and a new owner opened; None: it does not."""
    missing = FRESH - len(world.sessions)
    sessions = (*world.sessions, *(Session(over=True),) * missing, Session())
    txn = adopt(world.assigned, world.state, FRESH)
    return _left_alone(landed(world._replace(sessions=sessions), txn), FRESH, KEPT)


def still(world: World) -> World:
    """What a new owner finds of it: without those who do something, and what they have in flight."""
    sessions = tuple(
        [
            Session(records=each.records[: each.durable], landed=(1 << each.durable) - 1, sealed=each.sealed)
            for each in world.sessions
        ]
    )
    return World(
        assigned=world.assigned._replace(releasing=False, target=""),
        state=world.state,
        sessions=sessions,
        newest=(world.assigned.epoch, world.assigned.session),
    )


def _left_alone(world: World, index: int, rules: Rules) -> World | None:
    had = (world.assigned.session, world.assigned.epoch)
    world = world._replace(moves_left=0, records_left=0, sessions_left=0, hidden_left=0)
    for _ in range(STEPS_MAX):
        session, assigned = world.sessions[index], world.assigned
        if (assigned.session, assigned.epoch) != had:
            return world
        if (session.phase, session.epoch) == (OPEN, assigned.epoch) and not assigned.releasing:
            return world
        following = next(
            chain(metadata_steps(world, rules), landing_steps(world), hold_steps(world, index, rules)), None
        )
        if following is None:
            return None
        world = canonical(following[1], rules)
    return None
