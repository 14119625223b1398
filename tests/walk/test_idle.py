"""An idle platform is silent: nothing is asked of the object store, nothing written to the metadata store."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import trio

from services.metadata.kv.sqlite import FILE
from tests.support.kafka_session import open_session
from tests.support.standalone import Standalone, open_standalone

IDLE_SECONDS = 4.0
LEASE_SECONDS = 2.0  # renewed every 0.7 s: leases are of the store, renewing them must write nothing


class MetadataFile:
    """What tells whether anybody has written to the metadata store since the last look."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def state(self) -> tuple[int, int]:
        """The store's revision, and a number that SQLite changes with every other connection's commit."""
        (revision,) = self._db.execute("SELECT revision FROM store").fetchone()
        (version,) = self._db.execute("PRAGMA data_version").fetchone()
        return revision, version


@contextmanager
def opened(data_dir: Path) -> Iterator[MetadataFile]:
    with closing(sqlite3.connect(f"file:{data_dir / FILE}?mode=ro", uri=True)) as db:
        yield MetadataFile(db)


def operations(platform: Standalone) -> float:
    return platform.metric("kafscale_s3_operations_total")


async def test_without_clients_nothing_is_written_or_read(tmp_path: Path) -> None:
    async with open_standalone(tmp_path, lease_seconds=LEASE_SECONDS) as platform:
        async with open_session(platform.kafka_port) as client:
            await client.create_topic("orders", partitions=8)
            await client.produce("orders", b"first")
        with opened(tmp_path) as metadata:
            before = operations(platform), metadata.state()
            await trio.sleep(IDLE_SECONDS)
            after = operations(platform), metadata.state()
            renewals = [n for path, n in platform.calls_started().items() if path.endswith("/KeepAlive")]
    assert after == before
    assert sum(renewals) > 2


async def test_a_consumer_that_waits_costs_nothing(tmp_path: Path) -> None:
    async with open_standalone(tmp_path) as platform, open_session(platform.kafka_port) as client:
        await client.create_topic("orders")
        await client.produce("orders", b"first")
        with opened(tmp_path) as metadata:
            before = operations(platform), metadata.state()
            for _ in range(4):
                assert await client.fetch("orders", 1, wait_ms=250) == []
            after = operations(platform), metadata.state()
    assert after == before


async def test_what_is_looked_at_does_move(tmp_path: Path) -> None:
    async with open_standalone(tmp_path) as platform, open_session(platform.kafka_port) as client:
        with opened(tmp_path) as metadata:
            before = operations(platform), metadata.state()
            await client.create_topic("orders")
            await client.produce("orders", b"first")
            after = operations(platform), metadata.state()
    assert after[0] > before[0]
    assert after[1] > before[1]
