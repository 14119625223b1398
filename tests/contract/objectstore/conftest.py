"""Every adapter under the one contract: memory, a directory, S3 on a real MinIO."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from libs.concurrency.clock import SystemClock
from libs.concurrency.rand import SystemRand
from libs.objectstore.directory import open_directory_store
from libs.objectstore.memory import MemoryObjectStore
from libs.objectstore.pools import store_threads
from libs.objectstore.port import ObjectStore
from libs.objectstore.prefixed import PrefixedObjectStore
from libs.objectstore.s3 import S3Settings, open_s3_store
from tests.support.servers import Minio, minio_server

BUCKET = "contract"


@pytest.fixture(scope="session")
def minio() -> Iterator[Minio]:
    """Shared by all tests that leave it running; they keep apart by prefix."""
    with minio_server() as server:
        server.create_bucket(BUCKET)
        yield server


@pytest.fixture
def s3_settings(minio: Minio) -> S3Settings:
    return S3Settings(
        bucket=BUCKET,
        endpoint=minio.endpoint,
        region=minio.region,
        access_key=minio.access_key,
        secret_key=SecretStr(minio.secret_key),
    )


@pytest.fixture
async def s3_store(s3_settings: S3Settings) -> AsyncIterator[ObjectStore]:
    threads = store_threads(puts_max=16, gets_max=16)
    async with open_s3_store(s3_settings, threads=threads, connections_max=32) as store:
        yield PrefixedObjectStore(store, f"test-{SystemRand().uuid()}")


@pytest.fixture
async def encrypted_store(s3_settings: S3Settings, minio: Minio) -> AsyncIterator[ObjectStore]:
    """S3 with a KMS key; its test ends with every object encrypted by that."""
    threads = store_threads(puts_max=16, gets_max=16)
    prefix = f"test-{SystemRand().uuid()}"
    settings = replace(s3_settings, kms_key=minio.kms_key)
    async with open_s3_store(settings, threads=threads, connections_max=32) as store:
        yield PrefixedObjectStore(store, prefix)
    written = {key: used for key, used in minio.kms_keys(BUCKET).items() if key.startswith(prefix)}
    assert {key for key, used in written.items() if used != f"arn:aws:kms:{minio.kms_key}"} == set()


@pytest.fixture
async def directory_store(tmp_path: Path) -> AsyncIterator[ObjectStore]:
    threads = store_threads(puts_max=16, gets_max=16)
    async with open_directory_store(str(tmp_path / "data"), threads=threads, rand=SystemRand()) as store:
        yield store


@pytest.fixture
async def memory_store() -> ObjectStore:
    return MemoryObjectStore(SystemClock())
