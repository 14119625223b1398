"""What a failing S3 looks like from inside: each failure has its kind, and says what to do."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, closing
from dataclasses import replace

import pytest
import trio
from pydantic import SecretStr

from libs.concurrency.rand import SystemRand
from libs.concurrency.retry import RetryPolicy
from libs.model.errors import Invalid, KafscaleError, Reason, Unavailable
from libs.objectstore.opening import ObjectStoreSettings, OpenedObjectStore, open_object_store
from libs.objectstore.port import ObjectStore, PutResult
from tests.contract.objectstore.conftest import BUCKET
from tests.support.servers import Minio, free_ports, open_minio, restart

ONCE = RetryPolicy(attempts_max=1)


def settings_for(minio: Minio) -> ObjectStoreSettings:
    return ObjectStoreSettings(
        bucket=BUCKET,
        endpoint=minio.endpoint,
        access_key=minio.access_key,
        secret_key=SecretStr(minio.secret_key),
        namespace=f"test-{SystemRand().uuid()}",
        read_timeout_seconds=0.5,
        retry=ONCE,
    )


def opened(settings: ObjectStoreSettings) -> AbstractAsyncContextManager[OpenedObjectStore]:
    return open_object_store(settings, rand=SystemRand())


async def refusal(settings: ObjectStoreSettings) -> KafscaleError:
    with pytest.raises((Invalid, Unavailable)) as caught:
        async with opened(settings):
            raise AssertionError
    return caught.value


@pytest.fixture
async def own_minio() -> AsyncIterator[Minio]:
    async with open_minio(BUCKET) as minio:
        yield minio


async def test_it_opens_probed_and_leaves_nothing_behind(minio: Minio) -> None:
    async with opened(settings_for(minio)) as opened_store:
        assert (await opened_store.store.list("")).objects == ()
        assert await opened_store.store.put_if_absent("wal/s/0", b"x") is PutResult.CREATED


async def test_no_such_bucket(minio: Minio) -> None:
    error = await refusal(replace(settings_for(minio), bucket="absent"))
    assert isinstance(error, Invalid)
    assert "KAFSCALE_S3_BUCKET" in error.message


async def test_reads_come_from_a_copy_where_it_has_them(minio: Minio) -> None:
    minio.create_bucket("copy")
    settings = replace(settings_for(minio), read_bucket="copy")
    async with opened(settings) as both, opened(replace(settings, bucket="copy", read_bucket=None)) as copy:
        await both.store.put("behind", b"bucket")
        await both.store.put("there", b"bucket")
        await copy.store.put("there", b"copied")
        assert await both.reads.get("behind", start=1, length=2) == b"uc"
        assert await both.reads.get("there", start=0, length=3) == b"cop"
        assert await both.store.get("there") == b"bucket"


async def test_no_such_read_bucket(minio: Minio) -> None:
    error = await refusal(replace(settings_for(minio), read_bucket="absent"))
    assert isinstance(error, Invalid)
    assert "KAFSCALE_S3_READ_BUCKET" in error.message


async def test_no_such_kms_key(minio: Minio) -> None:
    error = await refusal(replace(settings_for(minio), kms_key="absent"))
    assert isinstance(error, Invalid)
    assert "KAFSCALE_S3_KMS_KEY" in error.message


async def test_wrong_access_key(minio: Minio) -> None:
    error = await refusal(replace(settings_for(minio), access_key="nobody"))
    assert isinstance(error, Invalid)
    assert "KAFSCALE_S3_ACCESS_KEY" in error.message


async def test_wrong_secret_key_which_is_never_shown(minio: Minio) -> None:
    settings = replace(settings_for(minio), secret_key=SecretStr("not-the-secret"))
    error = await refusal(settings)
    assert isinstance(error, Invalid)
    assert "KAFSCALE_S3_SECRET_KEY" in error.message
    assert "not-the-secret" not in f"{error!r} {settings!r}"


@pytest.mark.parametrize("endpoint", ["not a url", "localhost:9000", "ftp://127.0.0.1:9000", "http://"])
async def test_an_endpoint_that_is_none(minio: Minio, endpoint: str) -> None:
    assert isinstance(await refusal(replace(settings_for(minio), endpoint=endpoint)), Invalid)


async def test_nobody_listens(minio: Minio) -> None:
    (port,) = free_ports(1)
    error = await refusal(replace(settings_for(minio), endpoint=f"http://127.0.0.1:{port}"))
    assert isinstance(error, Unavailable)
    assert not error.outcome_unknown


async def test_lifecycle_rules_that_would_delete_are_refused(minio: Minio) -> None:
    settings = settings_for(minio)
    minio.create_bucket("expiring")
    rule = {"ID": "tidy", "Status": "Enabled", "Filter": {"Prefix": "old/"}, "Expiration": {"Days": 3}}
    with closing(minio.client()) as client:
        client.put_bucket_lifecycle_configuration(
            Bucket="expiring",
            LifecycleConfiguration={"Rules": [rule]},  # type: ignore[list-item]
        )
    error = await refusal(replace(settings, bucket="expiring", namespace="old/cluster"))
    assert isinstance(error, Invalid)
    assert "tidy" in error.message
    async with opened(replace(settings, bucket="expiring", namespace="elsewhere")):
        pass


async def failure_of_put(store: ObjectStore, key: str) -> Unavailable:
    with pytest.raises(Unavailable) as caught:
        await store.put_if_absent(key, b"x" * 400_000)
    return caught.value


async def test_a_store_that_hangs_leaves_the_outcome_open(own_minio: Minio) -> None:
    async with opened(settings_for(own_minio)) as opened_store:
        store = opened_store.store
        own_minio.pause()
        try:
            error = await failure_of_put(store, "hung")
            with pytest.raises(Unavailable) as caught:
                await store.get("hung")
        finally:
            own_minio.resume()
        assert (error.outcome_unknown, error.reason) == (True, Reason.TIMED_OUT)
        assert not caught.value.outcome_unknown


async def test_killed_and_restarted(own_minio: Minio) -> None:
    async with opened(settings_for(own_minio)) as opened_store:
        store = opened_store.store
        await store.put_if_absent("before", b"1")
        own_minio.kill()
        await failure_of_put(store, "meanwhile")  # a kept connection may be found dead only by sending
        assert not (await failure_of_put(store, "meanwhile")).outcome_unknown
        for call in (
            lambda: store.get("before"),
            lambda: store.head("before"),
            lambda: store.list(""),
            lambda: store.delete(["before"]),
        ):
            with pytest.raises(Unavailable):
                await call()
        await restart(own_minio)
        assert await store.get("before") == b"1"
        assert await store.put_if_absent("after", b"2") is PutResult.CREATED


async def test_a_read_can_be_left_at_once(own_minio: Minio) -> None:
    settings = replace(settings_for(own_minio), read_timeout_seconds=5.0)
    async with opened(settings) as opened_store:
        own_minio.pause()
        try:
            started = trio.current_time()
            with trio.move_on_after(0.05) as scope:
                await opened_store.store.get("a")
            assert scope.cancelled_caught
            assert trio.current_time() - started < 2
        finally:
            own_minio.resume()
