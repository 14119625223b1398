"""Every adapter under the one contract: memory, SQLite, a real etcd."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from libs.concurrency.rand import SystemRand
from services.metadata.kv.etcd import open_etcd_kv
from services.metadata.kv.memory import MemoryKV
from services.metadata.kv.port import KV
from services.metadata.kv.sqlite import open_sqlite_kv
from tests.support.servers import Etcd, etcd_server

ADAPTERS = ("memory", "sqlite", "etcd")


@pytest.fixture(scope="session")
def etcd() -> Iterator[Etcd]:
    """Shared by all tests that leave it running; they keep apart by cluster name."""
    with etcd_server() as server:
        yield server


@pytest.fixture(params=ADAPTERS)
async def kv(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[KV]:
    async with _opened(request, tmp_path) as store:
        yield store


@pytest.fixture(params=ADAPTERS[1:])
async def real_kv(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[KV]:
    """For what unit tests show on the model under a mocked clock."""
    async with _opened(request, tmp_path) as store:
        yield store


@asynccontextmanager
async def _opened(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[KV]:
    if request.param == "memory":
        yield MemoryKV()
    elif request.param == "sqlite":
        async with open_sqlite_kv(tmp_path / "data") as sqlite:
            yield sqlite
    else:
        server: Etcd = request.getfixturevalue("etcd")
        cluster = f"test-{SystemRand().uuid()}"
        async with open_etcd_kv([server.endpoint], cluster=cluster, rand=SystemRand()) as etcd_kv:
            yield etcd_kv
