"""A stack with small bounds, so that seconds of load fill them, and proxies between its processes.

Owns: the settings, what a scenario finds and how it is judged. Does not own: scenarios, clients.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import confluent_kafka.admin
import psutil
from confluent_kafka.cimpl import NewTopic

from libs.model.limits import MIB
from tests.chaos.links import Link
from tests.chaos.proxied import Proxied, open_proxied
from tests.load.clients import running_tail
from tests.load.memory import bounds, watched_memory
from tests.load.tail_kept import Latency, TailVerdict, judge_tail
from tests.support.background import Background, running
from tools.stack.layout import METADATA, OWNERS, SERVICES

PARTITIONS = 8
QUIET_SECONDS = 3.0
TURNS = 4
"""With the trouble and without, where it can rest."""
TURN_SETTLES_SECONDS = 0.5
"""What was asked for before is answered by then."""
RECOVERY_SECONDS_MAX = 120.0
SETTINGS = {
    f"KAFSCALE_{name}": str(value)
    for name, value in {
        "UNFLUSHED_BYTES_MAX": 32 * MIB,
        "TAIL_CACHE_BYTES_MAX": 32 * MIB,
        "COLD_CACHE_BYTES_MAX": 16 * MIB,
        "SEGMENT_INDEX_CACHE_BYTES_MAX": 8 * MIB,
        "FOOTER_CACHE_BYTES_MAX": 8 * MIB,
        "FETCH_REPLY_BYTES_MAX": 32 * MIB,
        "COMPACTION_BUFFER_BYTES_MAX": 32 * MIB,
        "COMPACTION_BYTES_TARGET": 8 * MIB,
        "COMPACTION_AGE_SECONDS": 10,
        "REQUEST_BYTES_MAX": 16 * MIB,
        "CONNECTION_BYTES_MAX": 16 * MIB,
        "IN_FLIGHT_BYTES_MAX": 32 * MIB,
        "FETCH_BYTES_MAX": 16 * MIB,
        "FETCHED_BYTES_MAX": 32 * MIB,
    }.items()
}


class Scene:
    """One stack. Blocking, for tests in an ordinary thread."""

    def __init__(self, background: Background[Proxied]) -> None:
        self._background = background
        self._stack = background.value.stack
        self._topics = 0

    @property
    def bootstrap(self) -> str:
        return ",".join(self._stack.bootstrap)

    @property
    def gateway_port(self) -> int:
        """The first gateway's own, past its proxy."""
        return self._stack.children["gateway-0"].ports.kafka

    def gateway_cpu_seconds(self) -> float:
        """Of the first gateway, until now."""
        times = psutil.Process(self._stack.children["gateway-0"].pid).cpu_times()
        return float(times.user + times.system)

    def pids(self) -> dict[str, int]:
        """Of the services that run."""
        children = {name: self._stack.children[name] for name in SERVICES}
        return {name: child.pid for name, child in children.items() if child.pid and child.alive}

    def new_topic(self, partitions: int = PARTITIONS) -> str:
        self._topics += 1
        topic = f"load-{self._topics}"
        admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": self.bootstrap})
        admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(60)
        return topic

    @contextmanager
    def links(self, sources: tuple[str, ...], target: str, change: Callable[[Link], None]) -> Iterator[None]:
        """Changes these links for the block, and heals them at its end."""
        proxies = self._background.value.proxies

        async def begin() -> None:
            for link in proxies.links_to(target, sources):
                change(link)

        async def end() -> None:
            proxies.heal()

        self._background.call(begin)
        try:
            yield
        finally:
            self._background.call(end)

    def store_links(self, change: Callable[[Link], None]) -> AbstractContextManager[None]:
        return self.links(OWNERS, "minio", change)

    def metadata_store_links(self, change: Callable[[Link], None]) -> AbstractContextManager[None]:
        return self.links(METADATA, "etcd", change)


@dataclass(slots=True, kw_only=True)
class Trial:
    """What a scenario tells while it goes on."""

    scene: Scene
    seconds: float
    facts: dict[str, str] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    connections: int = 0
    """What clients hold open beside the usual few."""
    resting: Callable[[], AbstractContextManager[None]] | None = None
    """Where the trouble can rest for a block: then it is there and not there in turn, and the tail's latency
    is judged."""


Scenario = Callable[[Trial], AbstractContextManager[None]]
"""Prepares, then is in trouble while its block goes on, and ends what it began."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    name: str
    before: Latency
    during: Latency
    recovered_seconds: float
    peak_bytes: dict[str, int]
    bound_bytes: dict[str, int]
    facts: dict[str, str]
    tail: TailVerdict | None
    """Where the tail's latency is judged, and not only told."""
    findings: list[str]
    """What must not be; empty where all is well."""

    @property
    def verdict(self) -> str:
        """In a few words."""
        words = [f"BROKEN: {len(self.findings)} findings" if self.findings else "borne"]
        return ", ".join(words if self.tail is None else [*words, self.tail.told])


def run(scene: Scene, name: str, scenario: Scenario, *, seconds: float) -> Outcome:
    """One scenario beside a client at the end of a topic."""
    trial = Trial(scene=scene, seconds=seconds)
    pids = scene.pids()
    topic = scene.new_topic(1)
    with running_tail(scene.bootstrap, topic) as tail, watched_memory(scene.pids) as peaks:
        tail.wait_read_after(time.monotonic(), seconds_max=RECOVERY_SECONDS_MAX)
        quiet_from = time.monotonic()
        time.sleep(QUIET_SECONDS)
        quiet_to = time.monotonic()
        with scenario(trial):
            began, busy = time.monotonic(), scene.gateway_cpu_seconds()
            beside, without = _take_turns(trial)
            ended = time.monotonic()
            used = (scene.gateway_cpu_seconds() - busy) / (ended - began)
            trial.facts["gateway-0 uses"] = f"{used:.0%} of a core"
        recovered = tail.wait_read_after(ended, seconds_max=RECOVERY_SECONDS_MAX)
    if tail.told:
        trial.facts["its clients told"] = f"{len(tail.told)} times, first {tail.told[0]!r}"
    bound = bounds(SETTINGS, connections=trial.connections)
    during = tail.latency(*beside)
    verdict = judge_tail(during, tail.latency(*without)) if without else None
    findings = [*trial.errors, *tail.errors, *(verdict.findings if verdict else ())]
    findings += [f"{each} is gone" for each, pid in pids.items() if scene.pids().get(each) != pid]
    findings += [
        f"a {role} took {peak / MIB:.0f} MiB, its bound is {bound[role] / MIB:.0f}"
        for role, peak in peaks.by_role.items()
        if peak > bound[role]
    ]
    return Outcome(
        name=name,
        before=tail.latency((quiet_from, quiet_to)),
        during=during,
        recovered_seconds=recovered,
        peak_bytes=peaks.by_role,
        bound_bytes=bound,
        facts=trial.facts,
        tail=verdict,
        findings=findings,
    )


Window = tuple[float, float]


def _take_turns(trial: Trial) -> tuple[list[Window], list[Window]]:
    """The trouble's time, all at once; or where it can rest in turns, each followed by as long without it."""
    if trial.resting is None:
        return [_slept(trial.seconds)], []
    beside, without = [], []
    for _ in range(TURNS):
        time.sleep(TURN_SETTLES_SECONDS)
        beside.append(_slept(trial.seconds / TURNS))
        with trial.resting():
            time.sleep(TURN_SETTLES_SECONDS)
            without.append(_slept(trial.seconds / TURNS))
    return beside, without


def _slept(seconds: float) -> Window:
    since = time.monotonic()
    time.sleep(seconds)
    return since, time.monotonic()


@contextmanager
def open_scene(directory: Path) -> Iterator[Scene]:
    opened: Callable[..., AbstractAsyncContextManager[Proxied]] = open_proxied
    with running(partial(opened, directory, **SETTINGS)) as background:
        yield Scene(background)
