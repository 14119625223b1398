"""Opens the object store that the settings name, whole: adapter, namespace, measuring, retries, probe.

Owns: how the parts are put together. Does not own: the parts.
Rules: 1 each attempt is measured, retries are outside of that; 2 a store that fails its probe is not opened.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pydantic import SecretStr

from libs.concurrency.rand import Rand
from libs.concurrency.retry import RetryPolicy
from libs.concurrency.threads import Threads
from libs.model.errors import Invalid
from libs.objectstore.directory import open_directory_store
from libs.objectstore.instrumented import InstrumentedObjectStore, Recorder
from libs.objectstore.pools import store_threads
from libs.objectstore.port import ObjectReader, ObjectStore
from libs.objectstore.prefixed import PrefixedObjectStore
from libs.objectstore.probe import probe, refuse_dangerous_rules
from libs.objectstore.read_bucket import COPY_SECONDS_MAX, CopyRecorder, ReadBucket, check_read_bucket
from libs.objectstore.retrying import RetryingObjectStore

if TYPE_CHECKING:
    from libs.objectstore.s3 import S3ObjectStore


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectStoreSettings:
    """Either `bucket`, with what S3 needs, or `directory`.

    `endpoint` None is Amazon's own; no keys means boto3's usual chain (role, profile, ...). `namespace` is
    put before every key. `puts_max` and `gets_max` bound the threads. `read_bucket` is a copy of
    `bucket`, at the same endpoint, that reads of stored objects may come from (read_bucket.py).
    """

    directory: str | None = None
    bucket: str | None = None
    read_bucket: str | None = None
    endpoint: str | None = None
    region: str = "us-east-1"
    access_key: str | None = None
    secret_key: SecretStr | None = None
    kms_key: str | None = None
    ca_file: str | None = None
    connect_timeout_seconds: float = 3.0
    read_timeout_seconds: float = 10.0
    namespace: str = ""
    puts_max: int = 8
    gets_max: int = 16
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    probe: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedObjectStore:
    """The store to use, and the threads that it blocks in, for their statistics."""

    store: ObjectStore
    reads: ObjectReader
    """The same objects, for who knows that they are stored: by way of the read bucket, where there is one."""
    threads: Threads


@asynccontextmanager
async def open_object_store(
    settings: ObjectStoreSettings, *, rand: Rand, recorder: Recorder | None = None
) -> AsyncIterator[OpenedObjectStore]:
    """The store, probed. Raises Invalid or Unavailable, with what to do about it, when it does not work."""
    threads = store_threads(puts_max=settings.puts_max, gets_max=settings.gets_max)
    async with _adapter(settings, threads, rand) as adapter:
        store: ObjectStore = adapter
        if settings.namespace:
            store = PrefixedObjectStore(store, settings.namespace)
        if recorder is not None:
            store = InstrumentedObjectStore(store, recorder)
        store = RetryingObjectStore(store, policy=settings.retry, rand=rand)
        if settings.probe:
            await probe(store, rand=rand)
        async with _reads(settings, store, rand, recorder) as reads:
            yield OpenedObjectStore(store=store, reads=reads, threads=threads)


@asynccontextmanager
async def _reads(
    settings: ObjectStoreSettings, store: ObjectStore, rand: Rand, recorder: Recorder | None
) -> AsyncIterator[ObjectReader]:
    if settings.read_bucket is None:
        yield store
        return
    # Threads of its own: a copy that hangs holds up no read of the bucket.
    threads = store_threads(puts_max=1, gets_max=settings.gets_max)
    patience = replace(
        settings,
        connect_timeout_seconds=min(COPY_SECONDS_MAX, settings.connect_timeout_seconds),
        read_timeout_seconds=min(COPY_SECONDS_MAX, settings.read_timeout_seconds),
    )
    async with _s3(patience, settings.read_bucket, threads) as adapter:
        copy: ObjectStore = adapter
        if settings.namespace:
            copy = PrefixedObjectStore(copy, settings.namespace)
        if settings.probe:
            await check_read_bucket(copy, settings.read_bucket)
        if recorder is not None:
            copy = InstrumentedObjectStore(copy, CopyRecorder(recorder))
        yield ReadBucket(bucket=store, copy=copy, rand=rand)


def _adapter(
    settings: ObjectStoreSettings, threads: Threads, rand: Rand
) -> AbstractAsyncContextManager[ObjectStore]:
    if settings.bucket is not None:
        return _bucket(settings, settings.bucket, threads)
    if settings.directory is not None:
        return open_directory_store(settings.directory, threads=threads, rand=rand)
    raise Invalid("no object store is set; set KAFSCALE_S3_BUCKET or KAFSCALE_DATA_DIR")


@asynccontextmanager
async def _bucket(settings: ObjectStoreSettings, bucket: str, threads: Threads) -> AsyncIterator[ObjectStore]:
    async with _s3(settings, bucket, threads) as store:
        if settings.probe:
            await refuse_dangerous_rules(store, settings.namespace)
        yield store


@asynccontextmanager
async def _s3(settings: ObjectStoreSettings, bucket: str, threads: Threads) -> AsyncIterator["S3ObjectStore"]:
    # boto3 takes a third of a second to import: a process that keeps its objects in a directory does without.
    from libs.objectstore.s3 import S3Settings, open_s3_store  # noqa: PLC0415

    s3_settings = S3Settings(
        bucket=bucket,
        endpoint=settings.endpoint,
        region=settings.region,
        access_key=settings.access_key,
        secret_key=settings.secret_key,
        kms_key=settings.kms_key,
        ca_file=settings.ca_file,
        connect_timeout_seconds=settings.connect_timeout_seconds,
        read_timeout_seconds=settings.read_timeout_seconds,
    )
    connections_max = settings.puts_max + settings.gets_max
    async with open_s3_store(s3_settings, threads=threads, connections_max=connections_max) as store:
        yield store
