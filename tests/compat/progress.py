"""How far a consumer group is: what its members consumed, and what it committed.

Owns: counting, waiting for progress, the watch that holds that committed offsets never go back.
Does not own: the members.
"""

import threading
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from tests.support.raw_kafka import ask

WAIT_SECONDS_MAX = 40.0
"""Below the session timeout of most clients, 45 s: a member that was lost on the way must fail the test, not
slow it down."""
API_OFFSET_FETCH = 9

Position = tuple[int, int]
"""(partition, offset)"""


class Consumed:
    """What all members of a group consumed, how often, and by whom."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._times: Counter[Position] = Counter()
        self._by_member: Counter[str] = Counter()

    def add(self, member: str, positions: Sequence[Position]) -> None:
        with self._changed:
            self._times.update(positions)
            self._by_member[member] += len(positions)
            self._changed.notify_all()

    @property
    def positions(self) -> set[Position]:
        with self._changed:
            return set(self._times)

    def by(self, member: str) -> int:
        with self._changed:
            return self._by_member[member]

    def wait_more_by(self, *members: str) -> None:
        """Until each of these members consumed something that it had not before."""
        with self._changed:
            before = {member: self._by_member[member] for member in members}
            assert self._changed.wait_for(
                lambda: all(self._by_member[member] > count for member, count in before.items()),
                WAIT_SECONDS_MAX,
            ), f"not all of {members} consumed: {self._by_member}"

    def wait_all(self, expected: set[Position]) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: expected <= self._times.keys(), WAIT_SECONDS_MAX), (
                f"never consumed: {sorted(expected - self._times.keys())[:10]}"
            )


class CommittedWatch:
    """Asks for a group's committed offsets again and again, and holds that none ever goes back."""

    def __init__(self, address: str, group: str, topic: str, partitions: int) -> None:
        self._address = address
        self._group = group
        self._topic = topic
        self._partitions = partitions
        self._changed = threading.Condition()
        self._committed = [-1] * partitions
        self._errors: list[BaseException] = []
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="committed-watch", daemon=True)

    def wait_committed(self, expected: Sequence[int]) -> None:
        with self._changed:
            assert self._changed.wait_for(
                lambda: bool(self._errors) or self._committed == list(expected), WAIT_SECONDS_MAX
            ), f"committed are {self._committed}, not {expected}"

    @property
    def committed(self) -> Sequence[int]:
        with self._changed:
            return list(self._committed)

    def wait_further(self) -> None:
        """Until something more is committed than now."""
        with self._changed:
            before = sum(self._committed)
            assert self._changed.wait_for(
                lambda: bool(self._errors) or sum(self._committed) > before, WAIT_SECONDS_MAX
            ), f"committed stay {self._committed}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._thread.join(WAIT_SECONDS_MAX)
        if self._errors:
            raise self._errors[0]

    def _run(self) -> None:
        try:
            while not self._closing.wait(0.02):
                self._look()
        except BaseException as error:
            with self._changed:
                self._errors.append(error)
                self._changed.notify_all()

    def _look(self) -> None:
        asked = {"name": self._topic, "partition_indexes": range(self._partitions)}
        answer: Any = ask(self._address, API_OFFSET_FETCH, 5, group_id=self._group, topics=[asked])
        if int(answer.error_code) != 0:
            return  # the coordinator is moving
        found = {each.partition_index: each for each in answer.topics[0].partitions}
        with self._changed:
            for index, before in enumerate(self._committed):
                assert int(found[index].error_code) == 0
                offset = found[index].committed_offset
                assert offset >= before, f"partition {index} was committed at {before}, then at {offset}"
                self._committed[index] = offset
            self._changed.notify_all()
