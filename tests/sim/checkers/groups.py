"""Groups: no two members hold one partition in one generation; committed offsets never go back unless asked.

Owns: the judgement of these sentences, and of the leader's assignment passing through. Does not own: offsets
of recreated topics (promise 8).
Clauses:
1 in one generation of a group a partition is assigned to one member;
2 a member gets exactly what the group's leader gave it;
3 what is fetched was committed: by a commit that nothing acknowledged later replaced, or one whose outcome is
  unknown, unless a member of a newer generation committed since; nothing (-1) only where nothing was
  acknowledged; a fetch that can only have seen one commit tells when that was done, at the latest;
4 a commit of an older generation, asked after a member had got its assignment in a newer one, is refused.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from libs.model.ids import GroupId, MemberId, TopicPartition
from tests.sim.checkers.violation import Violation
from tests.sim.events import (
    CommitAcked,
    CommitAsked,
    CommitFailed,
    GroupAssigned,
    OffsetsAsked,
    OffsetsFetched,
    TopicDeleteAsked,
)
from tests.sim.history import History

NAME = "groups"
_NOTHING = -1


def check(history: History) -> list[Violation]:
    """What breaks the rules of groups."""
    return [*_shared(history), *_changed(history), *_offsets(history), *_zombies(history)]


def _shared(history: History) -> Iterator[Violation]:
    holders: dict[tuple[GroupId, int, TopicPartition], tuple[MemberId, int]] = {}
    for entry, event in history.each(GroupAssigned):
        for tp in sorted(event.partitions):
            holding = (event.group, event.generation, tp)
            member, since = holders.setdefault(holding, (event.member, entry.number))
            if member != event.member:
                yield Violation(
                    checker=NAME,
                    what=(
                        f"generation {event.generation} of {event.group} gave {tp} to {member}"
                        f" and to {event.member}"
                    ),
                    evidence=(since, entry.number),
                )


def _changed(history: History) -> Iterator[Violation]:
    for entry, event in history.each(GroupAssigned):
        if event.given is not None and event.given != event.partitions:
            yield Violation(
                checker=NAME,
                what=(
                    f"{event.member} of {event.group} was given {_names(event.given)} by the leader,"
                    f" and got {_names(event.partitions)}"
                ),
                evidence=(entry.number,),
            )


def _names(partitions: Iterable[TopicPartition]) -> str:
    return ", ".join(sorted(map(str, partitions))) or "nothing"


@dataclass(slots=True, kw_only=True)
class _Commit:
    """One offset of a CommitAsked. `answered` None: nobody knows, it may hold at any time."""

    offset: int
    generation: int
    asked: int
    answered: int | None = None
    failed: bool = False


class _Fetched(NamedTuple):
    asked: int
    answered: int
    group: GroupId
    tp: TopicPartition
    offset: int


def _offsets(history: History) -> Iterator[Violation]:
    commits = _commits(history)
    end = len(history)
    deleted = {event.topic_id: entry.number for entry, event in history.each(TopicDeleteAsked)}
    for each in _fetched(history):
        if deleted.get(each.tp.topic_id, end) < each.answered:
            continue  # a deleted topic's offsets may be gone
        these = commits[each.group, each.tp]
        what = _wrong_offset(these, each.asked, each.answered, each.offset)
        if what:
            yield Violation(
                checker=NAME,
                what=f"{each.group} at {each.tp}: offset {each.offset} was fetched, {what}",
                evidence=(each.asked, each.answered) if each.answered < end else (),
            )
        seen = _possible(these, each.answered, each.offset)
        if len(seen) == 1 and seen[0].answered is None:
            seen[0].answered = each.answered


def _commits(history: History) -> defaultdict[tuple[GroupId, TopicPartition], list[_Commit]]:
    commits: defaultdict[tuple[GroupId, TopicPartition], list[_Commit]] = defaultdict(list)
    by_call: defaultdict[int, list[_Commit]] = defaultdict(list)
    for entry, event in history.each(CommitAsked, CommitAcked, CommitFailed):
        if isinstance(event, CommitAsked):
            for tp, offset in event.offsets.items():
                commit = _Commit(offset=offset, generation=event.generation, asked=entry.number)
                commits[event.group, tp].append(commit)
                by_call[entry.number].append(commit)
        else:
            for commit in by_call[event.call]:
                commit.answered = entry.number
                commit.failed = isinstance(event, CommitFailed)
    return commits


def _fetched(history: History) -> Iterator[_Fetched]:
    for entry, event in history.each(OffsetsFetched):
        asked = history.event(event.call)
        assert isinstance(asked, OffsetsAsked)
        for tp, offset in event.offsets.items():
            yield _Fetched(event.call, entry.number, asked.group, tp, offset)
    end = len(history)
    for (group, tp), offset in ({} if history.end is None else history.end.committed).items():
        yield _Fetched(end, end, GroupId(group), tp, offset)


def _possible(commits: list[_Commit], answered: int, offset: int) -> list[_Commit]:
    """Those that a fetch that was answered then with this offset may have seen."""
    return [each for each in commits if each.offset == offset and each.asked < answered and not each.failed]


def _wrong_offset(commits: list[_Commit], asked: int, answered: int, offset: int) -> str:
    """Why that could not be the committed offset between these entries; '' where it could."""
    certain = [
        each for each in commits if each.answered is not None and not each.failed and each.answered < asked
    ]
    if offset == _NOTHING:
        if certain:
            return f"and {certain[-1].offset} had been committed (#{certain[-1].answered})"
        return ""
    candidates = _possible(commits, answered, offset)
    if not candidates:
        return "which nobody committed"
    newest_asked = max((each.asked for each in certain), default=-1)
    generation = max((each.generation for each in certain), default=-1)
    for each in candidates:
        if each.answered is None and not 0 <= each.generation < generation:
            return ""
        if each.answered is not None and each.answered > newest_asked:
            return ""
    newer = max(certain, key=lambda each: (each.generation, each.asked))
    return f"after {newer.offset} had been committed (#{newer.answered})"


def _zombies(history: History) -> Iterator[Violation]:
    newest: dict[GroupId, tuple[int, int]] = {}
    newest_when_asked: dict[int, tuple[int, int]] = {}
    for entry, event in history.each(GroupAssigned, CommitAsked, CommitAcked):
        match event:
            case GroupAssigned():
                if event.generation > newest.get(event.group, (-1, -1))[0]:
                    newest[event.group] = (event.generation, entry.number)
            case CommitAsked():
                newest_when_asked[entry.number] = newest.get(event.group, (-1, -1))
            case CommitAcked():
                asked = history.event(event.call)
                generation, since = newest_when_asked[event.call]
                if 0 <= asked.generation < generation:
                    yield Violation(
                        checker=NAME,
                        what=(
                            f"a commit of {asked.member} in generation {asked.generation} of {asked.group}"
                            f" was accepted, after generation {generation} had begun"
                        ),
                        evidence=(since, event.call, entry.number),
                    )
