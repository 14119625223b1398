"""Judges partitions: whether all that counts is there, from the log start to the end, each offset once.

Owns: the judgement, by what the metadata store names or by the bucket alone. Does not own: reading. Pure.
Rules: 1 with metadata, what counts is the state's manifest and positions; 2 without, it is the newest
manifest that has all it names, and every run that goes beyond it; 3 a problem found once is only suspected:
chains, folders and state were read at different times (verify.py reads them again).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from libs.model.cluster import PartitionState
from libs.model.ids import SessionId, TopicPartition
from tools.bucket.chains import Chain, Run, RunKey
from tools.bucket.folders import Folder, ManifestFacts


class Problem(NamedTuple):
    """`kind` in a word, and what."""

    kind: str
    what: str


@dataclass(slots=True, kw_only=True)
class Found:
    """What was read of the bucket's data."""

    chains: dict[SessionId, Chain] = field(default_factory=dict)
    folders: dict[TopicPartition, Folder] = field(default_factory=dict)

    def runs(self) -> dict[TopicPartition, list[Run]]:
        """Every partition's runs, in the order of their offsets."""
        found: dict[TopicPartition, list[Run]] = {}
        for chain in self.chains.values():
            for key, run in chain.runs.items():
                found.setdefault(key.tp, []).append(run)
        for runs in found.values():
            runs.sort(key=lambda run: (run.base_offset, run.leader_epoch))
        return found


def judge_state(tp: TopicPartition, state: PartitionState, found: Found) -> list[Problem]:
    """By what the metadata store says of the partition."""
    facts: ManifestFacts | None = None
    problems: list[Problem] = []
    if state.manifest_key:
        folder = found.folders.get(tp)
        facts = None if folder is None else folder.manifests.get(state.manifest_key)
        if facts is None:
            problems.append(Problem("missing", f"the state names the manifest {state.manifest_key}"))
        else:
            problems += _manifest_problems(facts)
    runs: list[Run] = []
    for position in state.positions:
        chain = found.chains.get(position.session) or Chain(session=position.session, start=0)
        if position.from_seq < chain.start:
            problems.append(
                Problem(
                    "collected",
                    f"{position.session} is needed from {position.from_seq}, starts at {chain.start}",
                )
            )
        if position.to_seq is not None and position.to_seq > max(chain.end, position.from_seq):
            problems.append(
                Problem("missing", f"{position.session} is needed to {position.to_seq}, ends at {chain.end}")
            )
        run = chain.runs.get(RunKey(tp, position.leader_epoch))
        if run is not None:
            runs.append(run)
    end, holes = _follow(runs, facts, log_start=state.log_start_offset)
    problems += holes
    if state.released_offset is not None and end != state.released_offset:
        problems.append(
            Problem("hole", f"it was released at {state.released_offset}, its data ends at {end}")
        )
    if end < state.log_start_offset:
        problems.append(
            Problem("hole", f"its log starts at {state.log_start_offset}, its data ends at {end}")
        )
    return problems


def judge_alone(folder: Folder | None, runs: Iterable[Run], *, collected: bool) -> list[Problem]:
    """By the bucket alone. `collected`: some chain lost its beginning, so that a log may start above 0."""
    facts = None if folder is None else folder.newest_whole()
    problems: list[Problem] = []
    if folder is not None and folder.manifests and facts is None:
        newest = max(folder.manifests.values(), key=lambda each: each.name)
        problems += _manifest_problems(newest)
    end, holes = _follow(runs, facts, log_start=None if collected else 0)
    # A manifest covers what was durable, also one that is not whole (any more), or was never committed.
    promised = 0 if folder is None else folder.end_promised()
    if end < promised and not problems:
        holes.append(
            Problem("hole", f"nothing has [{end}, {promised}), and a manifest says that it was there")
        )
    return problems + holes


def _manifest_problems(facts: ManifestFacts) -> list[Problem]:
    problems = [Problem("missing", f"{facts.key} names {key}") for key in facts.missing]
    if facts.hole is not None:
        problems.append(Problem("hole", f"{facts.key} has nothing of [{facts.hole[0]}, {facts.hole[1]})"))
    return problems


def _follow(
    runs: Iterable[Run], facts: ManifestFacts | None, *, log_start: int | None
) -> tuple[int, list[Problem]]:
    """Where the data ends, and what is missing or twice on the way. `runs` in order."""
    problems: list[Problem] = []
    reached = None if facts is None else facts.end_offset
    compacted = 0 if facts is None else facts.end_offset
    for run in runs:
        if run.end_offset <= compacted:
            continue
        if reached is None:
            reached = run.base_offset if log_start is None else min(run.base_offset, log_start)
        where = f"{run.session}, epoch {run.leader_epoch}, objects [{run.from_seq}, {run.to_seq})"
        if run.base_offset > reached:
            problems.append(
                Problem("hole", f"nothing has [{reached}, {run.base_offset}), then comes {where}")
            )
        elif run.base_offset < reached and reached > compacted:
            problems.append(Problem("two values", f"[{run.base_offset}, {reached}) is also in {where}"))
        reached = max(reached, run.end_offset)
    return (log_start or 0) if reached is None else reached, problems


def wanted_sessions(states: Mapping[TopicPartition, PartitionState]) -> set[SessionId]:
    """The chains that these states name."""
    return {position.session for state in states.values() for position in state.positions}
