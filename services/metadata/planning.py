"""What the controller does next, from what it knows. Pure.

Owns: the order of work, and which partitions go where. Does not own: the writes and their guards
(controller.py).
Rules:
1 first partitions without a living owner, then topics that are being created, then drains, then deleted
  topics, and the balance only when there is nothing else to do;
2 an owner is gone when its registration is; it is proven over when it registers another session or its
  session is sealed: then nothing has to be waited for, else nothing moves while the grace lasts (grace.py);
3 an owner that came back with another session gets its partitions back;
4 an owner gives away a bounded number of partitions at a time: each pauses for a hand-over.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from libs.model.cluster import Assignment, AssignmentState, Topic
from libs.model.ids import OwnerId, Partition, TopicId, TopicPartition
from services.metadata.assignment import Candidate, place, rebalance
from services.metadata.cluster_state import ClusterState
from services.metadata.stored import Stored


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One kind of work; the others wait for the state that it leads to."""

    adopt: Mapping[TopicPartition, OwnerId] = field(default_factory=dict)
    """Partitions whose owner is gone, and who gets them."""
    create: Mapping[TopicPartition, OwnerId] = field(default_factory=dict)
    """Partitions of topics that are being created."""
    go_live: tuple[Stored[Topic], ...] = ()
    """Topics that are live once `create` is written."""
    hand_over: Mapping[TopicPartition, OwnerId] = field(default_factory=dict)
    """Partitions to mark as releasing, and who is meant to have them."""
    remove: tuple[TopicId, ...] = ()
    """Deleted topics whose partitions are still there."""

    @property
    def empty(self) -> bool:
        return not (self.adopt or self.create or self.go_live or self.hand_over or self.remove)


def plan(state: ClusterState, *, grace: bool, moves_max: int) -> Plan:
    """The next work. `grace`: owners that are gone may come back yet. `moves_max`: of one owner at a time."""
    live = state.live_owners()
    candidates = [
        Candidate(owner_id=owner_id, zone=owner.value.zone)
        for owner_id, owner in sorted(live.items())
        if not owner.value.draining
    ]
    today = {at: _counts_at(assignment.value, live) for at, assignment in state.all_assignments()}
    work = Plan()
    if candidates:
        work = Plan(adopt=_adopt(state, candidates, today, grace=grace))
        if work.empty:
            work = _create(state, candidates, today)
        if work.empty:
            work = Plan(hand_over=_drain(state, candidates, today, moves_max=moves_max))
    if work.empty:
        unfinished = (id_ for id_, each in state.deleting.items() if not each.value.partitions_removed)
        work = Plan(remove=tuple(sorted(unfinished)))
    if work.empty and not grace:
        work = Plan(hand_over=_even_out(state, candidates, today, moves_max=moves_max))
    return work


def _counts_at(assignment: Assignment, live: Mapping[OwnerId, object]) -> OwnerId:
    """Who has the partition soon."""
    target = assignment.target_owner_id
    return target if target is not None and target in live else assignment.owner_id


def is_orphan(state: ClusterState, assignment: Assignment, *, grace: bool) -> bool:
    """Whether the partition's owner is over, or gone and nobody waits for it."""
    registered = state.owners.get(assignment.owner_id)
    if state.is_sealed(assignment.session):
        return True
    if registered is None:
        return not grace
    return registered.value.session != assignment.session


def _of_known_topics(state: ClusterState) -> list[tuple[TopicPartition, Assignment]]:
    """The assignments whose topic is there: those of deleted ones are about to be removed."""
    return [
        (at, assignment.value)
        for at, assignment in state.all_assignments()
        if at.topic_id in state.topics_by_id
    ]


def _adopt(
    state: ClusterState,
    candidates: list[Candidate],
    today: Mapping[TopicPartition, OwnerId],
    *,
    grace: bool,
) -> dict[TopicPartition, OwnerId]:
    back = {each.owner_id for each in candidates}
    orphans = {
        at: assignment.owner_id
        for at, assignment in _of_known_topics(state)
        if is_orphan(state, assignment, grace=grace)
    }
    stay = {at: owner_id for at, owner_id in orphans.items() if owner_id in back}
    homeless = sorted(at for at in orphans if at not in stay)
    return stay | place(candidates, homeless, {**today, **stay})


def _create(
    state: ClusterState, candidates: list[Candidate], today: Mapping[TopicPartition, OwnerId]
) -> Plan:
    creating = sorted(
        (topic for topic in state.topics.values() if not topic.value.live),
        key=lambda topic: topic.revision,
    )
    missing = [
        at
        for topic in creating
        for at in (
            TopicPartition(topic.value.topic_id, Partition(index)) for index in range(topic.value.partitions)
        )
        if state.assignment(at) is None
    ]
    return Plan(create=place(candidates, missing, today), go_live=tuple(creating))


def _releasing(state: ClusterState) -> Counter[OwnerId]:
    return Counter(
        assignment.owner_id
        for _, assignment in _of_known_topics(state)
        if assignment.state is AssignmentState.RELEASING and assignment.owner_id in state.owners
    )


def _drain(
    state: ClusterState,
    candidates: list[Candidate],
    today: Mapping[TopicPartition, OwnerId],
    *,
    moves_max: int,
) -> dict[TopicPartition, OwnerId]:
    draining = {owner_id for owner_id, owner in state.owners.items() if owner.value.draining}
    if not draining:
        return {}
    room = {owner_id: moves_max - _releasing(state)[owner_id] for owner_id in draining}
    leaving: list[TopicPartition] = []
    for at, assignment in sorted(_of_known_topics(state), key=lambda each: each[0]):
        owner_id = assignment.owner_id
        if assignment.state is AssignmentState.ASSIGNED and room.get(owner_id, 0) > 0:
            room[owner_id] -= 1
            leaving.append(at)
    return place(candidates, leaving, today)


def _even_out(
    state: ClusterState,
    candidates: list[Candidate],
    today: Mapping[TopicPartition, OwnerId],
    *,
    moves_max: int,
) -> dict[TopicPartition, OwnerId]:
    """Moves of partitions that are assigned and not on their way already."""
    room = moves_max - _releasing(state).total()
    if room <= 0:
        return {}
    moves = rebalance(candidates, today, moves_max=room)
    movable = {
        at for at, assignment in _of_known_topics(state) if assignment.state is AssignmentState.ASSIGNED
    }
    return {move.at: move.target for move in moves if move.at in movable}
