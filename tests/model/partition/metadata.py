"""What becomes of requests to the metadata store, and what the controller may do.

Owns: transactions on their way, releases on their way, the controller's choices. Does not own: what a
transaction compares and writes (transactions.py).
Rules: 1 a transaction lands at any later time, where what it compares is unchanged; else never; 2 where it
compares all that it depends on, to read at the moment when it lands is the same, and so it is done: only an
opening is sent long after its read; 3 owners may be taken for dead at any moment.
"""

from collections.abc import Iterator

from tests.model.partition.rules import ASSIGNMENT, STATE, Rules
from tests.model.partition.transactions import adopt, hand_over, release_partition
from tests.model.partition.world import NAMES, OWNERS, Release, Txn, World

Step = tuple[str, World]


def sent(world: World, txn: Txn, compares: frozenset[str]) -> World:
    """The transaction is on its way, comparing no more than `compares`."""
    return world._replace(pending=world.pending | {txn._replace(compares=txn.compares & compares)})


def metadata_steps(world: World, rules: Rules) -> Iterator[Step]:
    for txn in world.pending:
        yield f"the transaction lands: {_told(txn)}", landed(world, txn)
    for index, session in enumerate(world.sessions):
        for asked in session.asked:
            yield from _release_steps(world, index, asked, rules)
    if world.moves_left:
        yield from _controller_steps(world, rules)


def landed(world: World, txn: Txn) -> World:
    """The store after it; what else compared what it wrote can't land any more."""
    written = frozenset(
        kind for kind, value in ((ASSIGNMENT, txn.assigned), (STATE, txn.state)) if value is not None
    )
    pending = frozenset([each for each in world.pending if each != txn and not each.compares & written])
    newest = world.newest
    if txn.assigned is not None and txn.assigned.epoch > newest[0]:
        newest = (txn.assigned.epoch, txn.assigned.session)
    return world._replace(
        assigned=world.assigned if txn.assigned is None else txn.assigned,
        state=world.state if txn.state is None else txn.state,
        pending=pending,
        newest=newest,
    )


def _lands_at_once(txn: Txn) -> bool:
    """Nothing that it depends on can change unnoticed: to read now and to read when it lands is the same."""
    return txn.reads <= txn.compares


def _submitted(world: World, txn: Txn) -> World:
    return landed(world, txn) if _lands_at_once(txn) else world._replace(pending=world.pending | {txn})


def taken_up(world: World, index: int, asked: Release) -> Txn | None:
    """What the service sends for that release, should it come now; None: it refuses."""
    registered = tuple({OWNERS[at]: at for at in range(len(world.sessions))}.values())
    return release_partition(world.assigned, world.state, registered, index, asked)


def _release_steps(world: World, index: int, asked: Release, rules: Rules) -> Iterator[Step]:
    txn = taken_up(world, index, asked)
    if txn is None:
        return
    txn = txn._replace(compares=txn.compares & rules.release_compares)
    after, what = _submitted(world, txn), f"{NAMES[index]}'s release of epoch {asked.epoch}"
    if not _lands_at_once(txn):
        yield f"{what} is taken up", after
        return
    if asked.opened:
        after = after._replace(released=after.released | {(index, asked.epoch)})
    yield f"{what} lands: {_told(txn)}", after


def _controller_steps(world: World, rules: Rules) -> Iterator[Step]:
    assigned = world.assigned
    moved = world._replace(moves_left=world.moves_left - 1)
    for owner in sorted(set(OWNERS[: len(world.sessions)])):
        by = world.newest_of(owner)
        if by == assigned.session:
            continue
        txn = adopt(assigned, world.state, by)
        if not rules.predecessors_appended and txn.assigned is not None:
            last = txn.assigned.predecessors[len(assigned.predecessors) :]
            txn = txn._replace(assigned=txn.assigned._replace(predecessors=last))
        what = f"the controller takes {OWNERS[assigned.session]} for dead: {_told(txn)}"
        yield what, _submitted(moved, _weakened(txn, rules))
        if not assigned.releasing and world.newest_of(OWNERS[assigned.session]) == assigned.session:
            txn = hand_over(assigned, by)
            what = f"the controller asks {NAMES[assigned.session]} to release"
            yield what, _submitted(moved, _weakened(txn, rules))


def _weakened(txn: Txn, rules: Rules) -> Txn:
    return txn._replace(compares=txn.compares & rules.controller_compares)


def _told(txn: Txn) -> str:
    told: list[str] = []
    if txn.assigned is not None:
        behind = "".join(f", after {NAMES[each]}/{epoch}" for each, epoch in txn.assigned.predecessors)
        told.append(f"epoch {txn.assigned.epoch} is {NAMES[txn.assigned.session]}'s{behind}")
    if txn.state is not None:
        told += [
            f"{NAMES[each.session]}/{each.epoch} is [{each.start}, {'...' if each.end < 0 else each.end})"
            for each in txn.state.positions
        ]
    return "; ".join(told) or "nothing"
