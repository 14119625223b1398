"""What the platform has to bear, one after the other.

Owns: the troubles and the clients that they need, by name. Does not own: memory, latency, recovery
(scene.py).
"""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import MappingProxyType

from libs.model.limits import MIB
from tests.chaos.links import Link, StoreTrouble, Trouble
from tests.load.clients import FarBack, Heavy, threads
from tests.load.connections import open_connections
from tests.load.scene import PARTITIONS, Scenario, Trial

SLOW_STORE_BYTES_PER_SECOND = 4 * MIB
"""Of each connection: some MiB/s of each owner."""
SLOW_STORE_SECONDS = 5.0
SLOW_METADATA_SECONDS = 2.0
CONNECTIONS = 5000
FAR_BACK_BYTES = 192 * MIB
"""Several times what the owners' caches hold."""
PRODUCERS = 2


@contextmanager
def producer_faster_than_store(trial: Trial) -> Iterator[None]:
    """Two producers without measure, and a store that takes less."""

    def narrow(link: Link) -> None:
        link.forth.suffer(Trouble(bytes_per_second=SLOW_STORE_BYTES_PER_SECOND))

    with _heavy(trial), trial.scene.store_links(narrow):
        yield


@contextmanager
def store_answers_late(trial: Trial) -> Iterator[None]:
    """Every answer of the object store comes 5 s late, while producers press."""

    def delay(link: Link) -> None:
        link.back.suffer(Trouble(delay_seconds=SLOW_STORE_SECONDS))

    with _heavy(trial), trial.scene.store_links(delay):
        yield


@contextmanager
def store_refuses(trial: Trial) -> Iterator[None]:
    """Every request to the object store is answered 503, while producers press."""

    def refuse(link: Link) -> None:
        link.store = StoreTrouble(slow_down=1.0)

    with _heavy(trial), trial.scene.store_links(refuse):
        yield


@contextmanager
def metadata_store_answers_late(trial: Trial) -> Iterator[None]:
    """Every answer of etcd comes 2 s late; a topic is created meanwhile."""

    def delay(link: Link) -> None:
        link.back.suffer(Trouble(delay_seconds=SLOW_METADATA_SECONDS))

    with trial.scene.metadata_store_links(delay):
        began = time.monotonic()

        def create(_stop: threading.Event) -> None:
            trial.scene.new_topic(1)
            trial.facts["topic created in"] = f"{time.monotonic() - began:.1f} s"

        with threads(trial.errors, create):
            yield


@contextmanager
def reader_from_far_back(trial: Trial) -> Iterator[None]:
    """A consumer reads what no cache holds, again and again, with rests: the tail keeps its latency."""
    topic = trial.scene.new_topic()
    heavy = Heavy(trial.scene.bootstrap, topic)
    heavy.produce(threading.Event(), bytes_max=FAR_BACK_BYTES)
    reader = FarBack(trial.scene.bootstrap, topic, PARTITIONS)
    trial.resting = reader.resting
    with threads(reader.errors, reader.consume):
        yield
    trial.facts["read"] = f"{reader.read_bytes / MIB / trial.seconds:.1f} MiB/s"
    reader.judge(heavy.read_back(PARTITIONS))
    trial.errors += [*heavy.errors, *reader.errors]
    if not reader.read_bytes:
        trial.errors.append("nothing was read from far back")


@contextmanager
def _heavy(trial: Trial) -> Iterator[None]:
    """Producers without measure; everything that they sent is acknowledged in the end, and read back."""
    producers = [Heavy(trial.scene.bootstrap, trial.scene.new_topic()) for _ in range(PRODUCERS)]
    began = time.monotonic()
    with threads(trial.errors, *(each.produce for each in producers)):
        yield
        ended = time.monotonic()
        meanwhile = sum(each.acknowledged_bytes for each in producers)
    flushed = time.monotonic() - ended
    trial.facts["acknowledged"] = f"{meanwhile / MIB / (ended - began):.1f} MiB/s"
    trial.facts["the rest after"] = f"{flushed:.1f} s"
    read = 0
    for each in producers:
        read += len(each.read_back(PARTITIONS))
        trial.errors += each.errors
    trial.facts["read back"] = f"{read} records"


@contextmanager
def _connections(trial: Trial, *, count: int, active: bool) -> Iterator[None]:
    trial.connections = count
    began = time.monotonic()
    with open_connections(trial.scene.gateway_port, count, active=active) as told:
        trial.facts["opened in"] = f"{time.monotonic() - began:.1f} s"
        yield
    trial.facts["answers"] = f"{told.answered}, the longest {told.longest:.2f} s"


def connections(count: int, *, active: bool) -> Scenario:
    """Beside them the usual clients."""
    return partial(_connections, count=count, active=active)


SCENARIOS: Mapping[str, Scenario] = MappingProxyType(
    {
        "a producer faster than the store": producer_faster_than_store,
        "a reader from far back": reader_from_far_back,
        f"{CONNECTIONS} silent connections": connections(CONNECTIONS, active=False),
        f"{CONNECTIONS} busy connections": connections(CONNECTIONS, active=True),
        "etcd answers in 2 s": metadata_store_answers_late,
        "the store answers in 5 s": store_answers_late,
        "the store answers 503": store_refuses,
    }
)
