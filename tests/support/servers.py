"""Real servers for tests: shared ones for a whole session, and Trio contexts for tests that kill them.

Owns: how a test gets at a server. Does not own: how servers run (tools/servers.py).
Rules: 1 tests that only use a store share one per session and keep apart by bucket or key prefix; 2 a test
that kills, pauses or fills a server opens its own.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from typing import TypeVar

import trio

from tools.servers import (
    Etcd,
    KafkaBroker,
    Minio,
    RealServer,
    ServerError,
    etcd_server,
    free_ports,
    kafka_broker,
    minio_server,
)

__all__ = [
    "Etcd",
    "KafkaBroker",
    "Minio",
    "RealServer",
    "ServerError",
    "etcd_server",
    "free_ports",
    "kafka_broker",
    "minio_server",
    "open_etcd",
    "open_kafka",
    "open_minio",
    "restart",
]

CLOSE_TIMEOUT_S = 30.0
ServerT = TypeVar("ServerT", bound=RealServer)


@asynccontextmanager
async def open_minio(*buckets: str) -> AsyncIterator[Minio]:
    """A MinIO of one's own with these buckets."""
    async with _opened(minio_server()) as minio:
        for bucket in buckets:
            await trio.to_thread.run_sync(minio.create_bucket, bucket)
        yield minio


@asynccontextmanager
async def open_etcd(*, fsync: bool = False, election_timeout_ms: int = 250) -> AsyncIterator[Etcd]:
    """An etcd of one's own."""
    async with _opened(etcd_server(fsync=fsync, election_timeout_ms=election_timeout_ms)) as etcd:
        yield etcd


@asynccontextmanager
async def open_kafka(*, partitions_default: int = 1) -> AsyncIterator[KafkaBroker]:
    """An Apache Kafka of one's own."""
    async with _opened(kafka_broker(partitions_default=partitions_default)) as broker:
        yield broker


async def restart(server: RealServer) -> None:
    """Restarts a server on the same ports and data and waits until it is ready, letting other tasks run."""
    await trio.to_thread.run_sync(server.restart)


@asynccontextmanager
async def _opened(context: AbstractContextManager[ServerT]) -> AsyncIterator[ServerT]:
    """Enters and leaves a blocking context in a thread; both are bounded in time."""
    server = await trio.to_thread.run_sync(context.__enter__)
    try:
        yield server
    finally:
        with trio.move_on_after(CLOSE_TIMEOUT_S, shield=True):
            await trio.to_thread.run_sync(context.__exit__, None, None, None)
