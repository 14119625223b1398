"""A stack whose store is far away and whose owners have many partitions; one of them dies.

Owns: topics, who has which partition, the kill, what the others log of it, the verdict. Does not own: what is
told of it (takeover.py), producers (fleet.py).
Rules: 1 only the way from owners to MinIO is slow, half of the delay in each direction: that much more than
MinIO itself takes for each request; 2 only MinIO is behind a proxy, so that the proxies don't take part.
"""

import json
import os
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import confluent_kafka.admin
import httpx
import psutil
from confluent_kafka.cimpl import NewTopic

from libs.model.limits import PARTITIONS_PER_TOPIC_MAX
from libs.rpc import open_channel
from proto.control import broker_pb2 as control
from proto.control.broker_grpc import BrokerControlStub
from tests.chaos.fleet import Fleet, Part
from tests.chaos.links import CLEAR, Trouble
from tests.chaos.load import Truth, wait_until
from tests.chaos.proxied import Proxied, open_proxied
from tests.support.background import Background, running
from tests.support.control import metric_value
from tests.support.ledger import Violation
from tools.stack.layout import METADATA, OWNERS
from tools.stack.stack import HOST

GATEWAY, SPARE_GATEWAY = "gateway-0", "gateway-1"
CREATE_SECONDS_MAX = 300.0
TAKEOVER_SECONDS_MAX = 300.0
READ_SECONDS_MAX = 300.0
_LOOK_SECONDS = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Takeover:
    """In seconds from the kill."""

    noticed: float
    """The controller gave the first partitions to others."""
    opened: dict[Part, float]
    """When GetStatus of another owner first said "open"; looked at every `_LOOK_SECONDS`."""
    acknowledged: dict[Part, float]
    """A record that was produced right after the kill."""
    openings: tuple[float, ...]
    """What each opening took by the new owner's log: from when it heard of it, and waiting for its turn."""
    cpu: dict[str, float]
    """What each process computed until all were open: hardly depends on what else the machine does."""


class DeadOwnerScene:
    """Blocking, for an ordinary thread."""

    def __init__(self, background: Background[Proxied]) -> None:
        self._background = background
        self._stack = background.value.stack
        self.topics: dict[str, int] = {}
        """Name -> partitions."""
        self._stack.children[SPARE_GATEWAY].send(signal.SIGTERM)
        background.call(self._stack.children[SPARE_GATEWAY].wait_ended)

    @property
    def bootstrap(self) -> str:
        return self._stack.address_of(GATEWAY)

    @property
    def parts(self) -> list[Part]:
        return [Part(topic, index) for topic, count in self.topics.items() for index in range(count)]

    def create_topics(self, partitions: int) -> None:
        """So many partitions in all, in as many topics as that takes; each is open when this returns."""
        count = -(-partitions // PARTITIONS_PER_TOPIC_MAX)
        sizes = [partitions // count + (number < partitions % count) for number in range(count)]
        new = {f"takeover-{len(self.topics) + number}": size for number, size in enumerate(sizes)}
        admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": self.bootstrap})
        asked = [NewTopic(name, size, 1) for name, size in new.items()]
        created = admin.create_topics(
            asked, operation_timeout=CREATE_SECONDS_MAX, request_timeout=CREATE_SECONDS_MAX
        )
        for future in created.values():
            future.result(CREATE_SECONDS_MAX)
        self.topics |= new
        wait_until(
            lambda: sum(map(len, self.open_parts(OWNERS).values())) == len(self.parts),
            seconds_max=CREATE_SECONDS_MAX,
            every_seconds=_LOOK_SECONDS,
        )

    def delay(self, seconds: float) -> None:
        """Of each request of an owner to MinIO, from now on."""
        trouble = Trouble(delay_seconds=seconds / 2) if seconds else CLEAR
        for owner in OWNERS:
            self._background.value.proxies.link(owner, "minio").suffer(trouble)

    def open_parts(self, owners: Iterable[str]) -> dict[str, set[Part]]:
        """What each says that it has open, by BrokerControl.GetStatus."""
        return {owner: self._background.call(partial(self._open_parts, owner)) for owner in owners}

    def owner_of(self, part: Part) -> str:
        return next(owner for owner, parts in self.open_parts(OWNERS).items() if part in parts)

    def chain_puts(self, owner: str) -> int:
        """Chain objects that it wrote."""
        text = httpx.get(f"http://{self._control_address(owner)}/metrics", trust_env=False).text
        return int(metric_value(text, "kafscale_chain_puts_total"))

    def kill(self, owner: str, fleet: Fleet) -> Takeover:
        """kill -9; at once a record goes to each of its partitions. Returns when others have all of them."""
        others = [each for each in OWNERS if each != owner]
        lost = self.open_parts([owner])[owner]
        killed_at, wall_clock = time.monotonic(), time.time()
        self._stack.kill(owner)
        self._background.call(self._stack.children[owner].wait_ended)
        fleet.send(sorted(lost))
        opened: dict[Part, float] = {}
        began, cpu = self._cpu(), dict[str, float]()
        while len(opened) < len(lost) or fleet.in_flight:
            for parts in self.open_parts(others).values():
                now = time.monotonic() - killed_at
                for part in parts & lost - opened.keys():
                    opened[part] = now
            if not cpu and len(opened) == len(lost):
                cpu = {name: seconds - began[name] for name, seconds in self._cpu().items()}
            if time.monotonic() - killed_at > TAKEOVER_SECONDS_MAX:
                raise TimeoutError(f"{len(opened)} of {len(lost)} are open, {fleet.in_flight} records wait")
            fleet.poll()
            time.sleep(_LOOK_SECONDS)
        adopted = self._log_since(METADATA, "partitions_adopted", wall_clock)
        return Takeover(
            noticed=min(_written_at(line) for line in adopted) - wall_clock,
            opened=opened,
            acknowledged={part: fleet.acknowledged_at[part] - killed_at for part in lost},
            openings=tuple(
                line["seconds"] for line in self._log_since(others, "partition_opened", wall_clock)
            ),
            cpu=cpu,
        )

    def verdict(self, fleet: Fleet) -> list[Violation]:
        """Reads all of it from the first record on, and holds it against what was acknowledged."""
        found: list[Violation] = []
        for topic, ledger in fleet.ledgers.items():
            truth = Truth(self.bootstrap, topic, partitions=self.topics[topic])
            truth.read_on(ledger.ends(), seconds_max=READ_SECONDS_MAX)
            found += ledger.judge(truth.found)
        return found

    async def _open_parts(self, owner: str) -> set[Part]:
        async with open_channel(self._control_address(owner)) as channel:
            status = await BrokerControlStub(channel).GetStatus(control.GetStatusRequest())
        return {Part(each.topic, each.partition) for each in status.partitions if each.state == "open"}

    def _cpu(self) -> dict[str, float]:
        """Processor seconds of each process that runs, and of this one: producers and proxies."""
        pids = {name: child.pid for name, child in self._stack.children.items() if child.alive}
        times = {
            name: psutil.Process(pid).cpu_times() for name, pid in {**pids, "the scene": os.getpid()}.items()
        }
        return {name: each.user + each.system for name, each in times.items()}

    def _control_address(self, owner: str) -> str:
        return f"{HOST}:{self._stack.children[owner].ports.admin}"

    def _log_since(self, names: Iterable[str], event: str, wall_clock: float) -> list[dict[str, Any]]:
        lines = [
            json.loads(line)
            for name in names
            for line in self._stack.children[name].log_since_start().splitlines()
            if f'"{event}"' in line
        ]
        return [line for line in lines if _written_at(line) >= wall_clock]


def _written_at(line: dict[str, Any]) -> float:
    return datetime.fromisoformat(line["timestamp"]).timestamp()


@contextmanager
def open_dead_owner_scene(directory: Path, **settings: str) -> Iterator[DeadOwnerScene]:
    """A stack on free ports, of which one gateway serves. `settings` are KAFSCALE_* variables."""
    opened = partial(open_proxied, directory, seed=0, etcd_quota_bytes=0, names=("minio",), **settings)
    with running(opened) as background:
        yield DeadOwnerScene(background)
