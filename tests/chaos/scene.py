"""A stack under load, and how it is hurt: what the chaos tests and the measurement share.

Owns: killing with PUTs in flight, terminating, draining, the verdict. Does not own: assertions on time.
Rules: 1 a kill lands while a chain PUT is in flight, as the owners' logs prove; where the victim is not the
owner itself the store is frozen for a moment, so that the PUT can't end between the look and the kill; 2 the
verdict reads everything from the first record on, each time.
"""

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import confluent_kafka.admin
import httpx
from confluent_kafka.cimpl import NewTopic

from tests.chaos.load import PARTITIONS, Load, Pause, Truth, running_load, wait_until
from tests.chaos.put_log import Put, PutLog
from tests.support.background import Background, running
from tests.support.ledger import Violation, compare_reads
from tests.support.platform import Platform, open_platform
from tools.servers import wait_stopped
from tools.stack.layout import GATEWAYS, OWNERS
from tools.stack.processes import Child
from tools.stack.stack import HOST, Stack
from tools.toolchain import tool_path

LEASE_SECONDS = 6.0
IN_FLIGHT_SECONDS_MAX = 30.0
READ_SECONDS_MAX = 60.0
_ANSWER_ON_ITS_WAY = timedelta(seconds=0.2)
_LIVE_PUT = timedelta(seconds=5)
"""One that is open for longer belongs to a session that was killed."""
RECOVERY_SECONDS_MAX = 45.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Killed:
    """A process that was ended while `in_flight` was open."""

    name: str
    at: float
    """On the monotonic clock."""
    in_flight: tuple[Put, ...]
    partitions: frozenset[int]
    """What it owned, where it was an owner."""


class Scene:
    """One stack. Blocking, for tests in an ordinary thread."""

    def __init__(self, background: Background[Platform]) -> None:
        self._background = background
        assert background.value.stack is not None
        self.stack: Stack = background.value.stack
        self._put_logs = {name: PutLog(self.child(name).log_path) for name in OWNERS}

    @property
    def bootstrap(self) -> str:
        return ",".join(self.stack.bootstrap)

    def child(self, name: str) -> Child:
        return self.stack.children[name]

    def restart(self, name: str) -> None:
        """Starts it again and waits until it is ready."""
        self._background.call(partial(self.stack.restart, name))

    def restart_dead(self) -> None:
        """Whatever a test left dead."""
        for name, child in self.stack.children.items():
            if not child.alive:
                self.restart(name)

    def wait_ended(self, name: str) -> int:
        return self._background.call(self.child(name).wait_ended)

    def create_topic(self, topic: str) -> None:
        admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": self.bootstrap})
        admin.create_topics([NewTopic(topic, PARTITIONS, 1)])[topic].result(30)

    # Hurting.

    def kill(self, name: str, topic: str) -> Killed:
        """kill -9 with PUTs in flight."""
        return self._kill_owner(name, topic) if name in OWNERS else self._kill_other(name)

    @contextmanager
    def paused_owner(self, name: str, topic: str) -> Iterator[Killed]:
        """SIGSTOP with PUTs in flight; it goes on after the block."""
        stopped = self._stop_in_flight(name, topic)
        try:
            yield stopped
        finally:
            self.child(name).send(signal.SIGCONT)

    def wait_taken_over(self, name: str, partitions: frozenset[int], topic: str) -> None:
        """Until the other owners have opened these partitions."""
        others = [each for each in OWNERS if each != name]
        wait_until(
            lambda: (
                partitions <= frozenset[int]().union(*(self.partitions_of(each, topic) for each in others))
            ),
            seconds_max=RECOVERY_SECONDS_MAX,
            every_seconds=0.1,
        )

    def terminate(self, name: str, topic: str) -> Killed:
        """SIGTERM with PUTs in flight, and its end awaited."""
        partitions = self.wait_partitions_of(name, topic) if name in OWNERS else frozenset[int]()
        with self._store_frozen() as open_puts:
            at = time.monotonic()
            self.child(name).send(signal.SIGTERM)
            in_flight = self._still_open(open_puts)
            if name == "minio":
                self.child(name).send(signal.SIGCONT)
        self._check_ended(name)
        return Killed(name=name, at=at, in_flight=in_flight, partitions=partitions)

    def stop(self, name: str) -> None:
        """SIGTERM, whatever is in flight, and its end awaited."""
        self.child(name).send(signal.SIGTERM)
        self._check_ended(name)

    def drain(self, name: str) -> dict[str, Any]:
        """DrainPartitions of everything, as an operator would ask: by grpcurl."""
        request = json.dumps({"all_assigned": True, "reason": "test", "deadline_seconds": 20})
        return self.control(name, "DrainPartitions", request)

    def control(self, name: str, method: str, request: str = "{}") -> dict[str, Any]:
        address = f"{HOST}:{self.child(name).ports.admin}"
        rpc = f"kafscale.control.BrokerControl/{method}"
        command = [str(tool_path("grpcurl")), "-plaintext", "-d", request, address, rpc]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def partitions_of(self, owner: str, topic: str) -> frozenset[int]:
        """What the owner itself says that it has open."""
        status = self.control(owner, "GetStatus").get("partitions", [])
        return frozenset(
            each.get("partition", 0) for each in status if each["topic"] == topic and each["state"] == "open"
        )

    def wait_partitions_of(self, owner: str, topic: str) -> frozenset[int]:
        """The same, once it has some."""
        wait_until(lambda: bool(self.partitions_of(owner, topic)), seconds_max=RECOVERY_SECONDS_MAX)
        return self.partitions_of(owner, topic)

    def controller(self) -> str:
        """The metadata replica that was elected last, by the logs."""
        elected: list[tuple[int, str]] = []
        for name in ("metadata-0", "metadata-1"):
            for line in self.child(name).log_since_start().splitlines():
                if '"controller_elected"' in line:
                    elected.append((json.loads(line)["revision"], name))
        return max(elected)[1]

    def put_count(self) -> dict[str, float]:
        """S3 operations of each owner's process that write, by its metrics."""
        return {name: self._writes(name) for name in OWNERS}

    def etcd_revision(self) -> int:
        """Moves with every write; lease keep-alives are none."""
        answer = httpx.post(
            f"http://{HOST}:{self.child('etcd').ports.admin}/v3/kv/range",
            json={"key": "AA==", "range_end": "AA==", "count_only": True},
            trust_env=False,
        )
        return int(answer.raise_for_status().json()["header"]["revision"])

    def produce_errors(self) -> float:
        """Error codes that the gateways answered to produce requests since they started."""
        return sum(
            value
            for name in GATEWAYS
            for labels, value in self._counter(name, "kafscale_errors_total")
            if 'api="produce"' in labels
        )

    # Judging.

    def verdict(self, load: Load, truth: Truth) -> list[Violation]:
        """Reads on, and holds all that was read against what was acknowledged until now."""
        known = len(load.ledger)
        truth.read_on(load.ledger.ends(), seconds_max=READ_SECONDS_MAX)
        judged = load.ledger.judge(truth.found, upto=known)
        return [*judged, *compare_reads(truth.found, list(load.group_reads))]

    def _writes(self, name: str) -> float:
        operations = self._counter(name, "kafscale_s3_operations_total")
        return sum(value for labels, value in operations if 'operation="get' not in labels)

    def _counter(self, name: str, counter: str) -> list[tuple[str, float]]:
        """(labels, value) of each series."""
        text = httpx.get(f"http://{HOST}:{self.child(name).ports.admin}/metrics", trust_env=False).text
        lines = (line for line in text.splitlines() if line.startswith(counter))
        return [(line.rpartition(" ")[0], float(line.rpartition(" ")[2])) for line in lines]

    def _kill_owner(self, name: str, topic: str) -> Killed:
        """Stopped first, so that what its log says stays so; killed when a PUT is open."""
        child, puts = self.child(name), self._put_logs[name]
        stopped = self._stop_in_flight(name, topic)
        child.send(signal.SIGKILL)
        self.wait_ended(name)
        still = puts.refresh().in_flight(puts.last_session())
        assert {put.key for put in still} == {put.key for put in stopped.in_flight}
        return stopped

    def _stop_in_flight(self, name: str, topic: str) -> Killed:
        child, puts = self.child(name), self._put_logs[name]
        partitions = self.wait_partitions_of(name, topic)
        deadline = time.monotonic() + IN_FLIGHT_SECONDS_MAX
        while time.monotonic() < deadline:
            child.send(signal.SIGSTOP)
            _wait_stopped(child)
            session = puts.refresh().last_session()
            in_flight = puts.in_flight(session)
            if in_flight:
                at = time.monotonic()
                return Killed(name=name, at=at, in_flight=tuple(in_flight), partitions=partitions)
            child.send(signal.SIGCONT)
            time.sleep(0.003)
        raise TimeoutError(f"{name} had no PUT in flight for {IN_FLIGHT_SECONDS_MAX} s")

    def _kill_other(self, name: str) -> Killed:
        with self._store_frozen() as open_puts:
            at = time.monotonic()
            self.child(name).send(signal.SIGKILL)
            self.wait_ended(name)
            in_flight = self._still_open(open_puts)
        return Killed(name=name, at=at, in_flight=in_flight, partitions=frozenset())

    @contextmanager
    def _store_frozen(self) -> Iterator[tuple[Put, ...]]:
        """MinIO answers nothing in the block, and PUTs are open that it has not answered.

        Those that began after it froze, or are open although an answer would have arrived by now.
        """
        minio = self.child("minio")
        minio.send(signal.SIGSTOP)
        try:
            _wait_stopped(minio)
            frozen_at = datetime.now(UTC)
            found: list[Put] = []

            def is_open() -> bool:
                answered = datetime.now(UTC) - frozen_at > _ANSWER_ON_ITS_WAY
                found[:] = [
                    put
                    for puts in self._put_logs.values()
                    for put in puts.refresh().in_flight(puts.last_session())
                    if put.begun_at > (frozen_at - _LIVE_PUT if answered else frozen_at)
                ]
                return bool(found)

            wait_until(is_open, seconds_max=IN_FLIGHT_SECONDS_MAX, every_seconds=0.002)
            yield tuple(found)
        finally:
            minio.send(signal.SIGCONT)

    def _check_ended(self, name: str) -> None:
        code = self.wait_ended(name)
        # etcd ends by the signal itself, once it has shut down.
        assert code in ({-signal.SIGTERM} if name == "etcd" else {0}), f"{name} ended with {code}"

    def _still_open(self, puts: tuple[Put, ...]) -> tuple[Put, ...]:
        """Those that the owners' logs still show open now, after the blow."""
        for log in self._put_logs.values():
            log.refresh()
        return tuple(put for put in puts if put.ended_at is None)


def _wait_stopped(child: Child) -> None:
    assert child.pid is not None
    wait_stopped(child.pid)


def slowest(pauses: list[Pause], partitions: frozenset[int] = frozenset(range(PARTITIONS))) -> float:
    """The longest pause among these partitions, in seconds."""
    return max((pause.seconds for pause in pauses if pause.partition in partitions), default=0.0)


@contextmanager
def open_scene(directory: Path) -> Iterator[Scene]:
    """A stack at its defaults, on free ports, that logs each PUT."""
    with running(partial(open_platform, "stack", directory, KAFSCALE_LOG_LEVEL="debug")) as background:
        yield Scene(background)


@contextmanager
def scene_under_load(scene: Scene, topic: str) -> Iterator[Load]:
    """A topic with a steady load on it; every partition was acknowledged before the block begins."""
    scene.create_topic(topic)
    with running_load(scene.bootstrap, topic, group=f"{topic}-readers") as load:
        load.wait_all_acknowledged_after(float("-inf"), seconds_max=RECOVERY_SECONDS_MAX)
        yield load
