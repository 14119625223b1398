"""One run of chaos: a stack behind proxies, clients, a nemesis, a verdict.

Owns: the order of these, what counts as broken besides the history. Does not own: each of them.
Rules: 1 the verdict is asked for when everything is healed, all producers were answered and the group had
time to read all; 2 whatever an application would have seen as an error is a finding, and so is a process that
died by itself; 3 nothing is tried twice.
"""

import itertools
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.chaos.bucket_check import QUICK_LIFE, verify, wait_no_orphan
from tests.chaos.checker import judge, summary
from tests.chaos.etcd_space import QUOTA_BYTES
from tests.chaos.history import History
from tests.chaos.java_clients import java_member, java_producer
from tests.chaos.load import GROUP_MEMBERS, Load, Truth, running_load, wait_until
from tests.chaos.nemesis import Interval, Nemesis
from tests.chaos.proxied import Proxied, open_proxied
from tests.chaos.schedule import Fault
from tests.chaos.timeline import longest_pause
from tests.chaos.vanishing import Vanishing, running_vanishing
from tests.support.background import running
from tests.support.clients import create_topic

TOPIC = "chaos"
GROUP = "chaos-readers"
PARTITIONS = 8
RECOVERY_SECONDS_MAX = 90.0
READ_SECONDS_MAX = 180.0
SETTLED_SECONDS = 5.0
COLLECTION_SECONDS_MAX = 120.0
STEADY_PAUSE_SECONDS_MAX = 5.0
JAVA_RECORDS_PER_SECOND = 100
_ENDLESS = {"retention_ms": "-1"}  # clocks jump by a month, and nothing may be gone

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to happen; `seed` is told so that it can be done again."""

    seed: int
    seconds: float
    faults: Sequence[Fault]
    command: str = ""
    has_java: bool = True
    is_steady: bool = False
    """Clients must notice none of it: promise 6."""


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What happened. Times are monotonic."""

    plan: Plan
    began_at: float = 0.0
    ended_at: float = 0.0
    intervals: list[Interval] = field(default_factory=list)
    history: History = field(default_factory=History)
    findings: list[str] = field(default_factory=list)
    """Broken promises and errors, a line each; empty where all is well."""
    notes: list[str] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        """How often each kind of fault was done."""
        kinds = [interval.fault.kind for interval in self.intervals]
        return {kind: kinds.count(kind) for kind in sorted(set(kinds))}


def run_chaos(directory: Path, plan: Plan, *, tell: Tell) -> Outcome:
    """Blocking. Raises where the stack itself could not be had."""
    outcome = Outcome(plan=plan)
    opened = partial(
        open_proxied, directory / "stack", seed=plan.seed, etcd_quota_bytes=QUOTA_BYTES, **QUICK_LIFE
    )
    with running(opened) as background, ExitStack() as clients:
        proxied = background.value
        bootstrap = ",".join(proxied.stack.bootstrap)
        create_topic(bootstrap, TOPIC, PARTITIONS, **_ENDLESS)
        load = clients.enter_context(running_load(bootstrap, TOPIC, group=GROUP))
        producers = ExitStack()
        if plan.has_java:
            clients.enter_context(java_member(load, directory, group=GROUP))
            producers = clients.enter_context(ExitStack())
            producers.enter_context(
                java_producer(load, directory, records_per_second=JAVA_RECORDS_PER_SECOND)
            )
        vanishing = clients.enter_context(running_vanishing(bootstrap, seed=plan.seed))
        outcome.history = load.history
        load.wait_all_acknowledged_after(time.monotonic(), seconds_max=RECOVERY_SECONDS_MAX)
        _wait_group_settled(load, members=GROUP_MEMBERS + plan.has_java)
        tell(f"all is up; {len(plan.faults)} faults are planned for {plan.seconds:.0f} s")
        outcome.began_at = time.monotonic()
        nemesis = Nemesis(proxied, tell)
        outcome.intervals = nemesis.intervals
        background.call(partial(nemesis.run, plan.faults, plan.seconds))
        outcome.ended_at = time.monotonic()
        background.call(nemesis.end)
        outcome.findings += [f"died by itself: {name}" for name in nemesis.died]
        vanishing.end()
        is_over = _settle(load, producers, outcome, tell)
        _judge(bootstrap, load, outcome, is_over=is_over)
        _judge_vanishing(vanishing, outcome)
        tell("the bucket is verified")
        _verify(proxied, outcome)
        if plan.is_steady:
            outcome.findings += unsteady(outcome)
        _note(proxied, outcome)
    outcome.findings += [f"client error: {error}" for error in load.errors if error not in outcome.findings]
    return outcome


def _wait_group_settled(load: Load, *, members: int) -> None:
    """Until so many members read, and were given no other partitions for a while."""
    polls = load.history.polls
    began_at = time.monotonic()

    def is_settled() -> bool:
        since = time.monotonic() - SETTLED_SECONDS
        recent: dict[str, set[int]] = {}
        for poll in itertools.takewhile(lambda poll: poll.at > since, reversed(polls)):
            recent.setdefault(poll.reader, set()).add(poll.life)
        lives_are_stable = all(len(lives) == 1 for lives in recent.values())
        return began_at < since and len(recent) == members and lives_are_stable

    wait_until(is_settled, seconds_max=RECOVERY_SECONDS_MAX, every_seconds=0.5)


def _settle(load: Load, producers: ExitStack, outcome: Outcome, tell: Tell) -> bool:
    """Whether the group read all that was acknowledged."""
    try:
        load.wait_all_acknowledged_after(time.monotonic(), seconds_max=RECOVERY_SECONDS_MAX)
    except TimeoutError:
        outcome.findings.append(f"not every partition takes records, {RECOVERY_SECONDS_MAX:.0f} s after all")
    tell("healed; producers end")
    producers.close()
    load.end_producing()
    ends = load.ledger.ends()
    try:
        load.wait_read(ends, seconds_max=RECOVERY_SECONDS_MAX)
    except TimeoutError as error:
        outcome.findings.append(f"the group has not read all: {error}")
        return False
    return True


def _verify(proxied: Proxied, outcome: Outcome) -> None:
    wrong, seen = verify(proxied.stack)
    left = wait_no_orphan(proxied.stack, seconds_max=COLLECTION_SECONDS_MAX)
    outcome.findings += [f"bucket: {line}" for line in wrong] + [f"orphan: {line}" for line in left]
    outcome.notes.append(seen)


def unsteady(outcome: Outcome) -> list[str]:
    """Where clients noticed the faults: a pause of producers or readers, a member given partitions anew."""
    found = []
    history = outcome.history
    began_at = min(interval.began_at for interval in outcome.intervals)
    ended_at = max(interval.ended_at for interval in outcome.intervals)
    for what, times in (
        ("acknowledgement", [ack.at for ack in history.acks]),
        ("read", [poll.at for poll in history.polls]),
    ):
        seconds, at = longest_pause(times, began_at, ended_at)
        outcome.notes.append(f"longest time without any {what} meanwhile: {seconds:.2f} s")
        if seconds > STEADY_PAUSE_SECONDS_MAX:
            found.append(f"no {what} for {seconds:.1f} s from second {at - outcome.began_at:.0f} on")
    lives = {(poll.reader, poll.life) for poll in history.polls if began_at <= poll.at < ended_at}
    if len(lives) != len({reader for reader, _ in lives}):
        found.append(f"the group was rebalanced: {sorted(lives)}")
    return found


def _judge(bootstrap: str, load: Load, outcome: Outcome, *, is_over: bool) -> None:
    truth = Truth(bootstrap, load.topic)
    truth.read_on(load.ledger.ends(), seconds_max=READ_SECONDS_MAX)
    outcome.findings += summary(judge(load.history, truth.found, is_over=is_over))
    outcome.notes.append(f"{len(truth.found)} records are in the log")


def _judge_vanishing(vanishing: Vanishing, outcome: Outcome) -> None:
    outcome.findings += summary(vanishing.judge(seconds_max=RECOVERY_SECONDS_MAX))
    outcome.findings += [f"client error: {error}" for error in vanishing.errors]
    outcome.notes.append(
        f"{vanishing.trims} DeleteRecords were acknowledged; a topic was deleted {vanishing.lives} times"
    )


def _note(proxied: Proxied, outcome: Outcome) -> None:
    history = outcome.history
    outcome.findings += [f"a proxy failed: {failure}" for failure in proxied.proxies.failures]
    acks = dict.fromkeys(sorted(history.producers), 0)
    for ack in history.acks:
        acks[ack.stamp.producer] += 1
    reads: dict[str, int] = {}
    for poll in history.polls:
        reads[poll.reader] = reads.get(poll.reader, 0) + 1
    outcome.notes += [
        f"acknowledged: {acks}",
        f"read by the group: {dict(sorted(reads.items()))}",
        f"connections through proxies: {proxied.proxies.statistics()}",
    ]
    if proxied.clocks is None:
        outcome.notes.append("no C compiler here: no clock was moved")
