"""The contract on each adapter; keys below other keys, and long names, only where they are possible."""

import pytest

from libs.objectstore.port import ObjectStore
from tests.contract.objectstore.cases import Contract, listed, put_all
from tests.contract.objectstore.conftest import BUCKET
from tests.support.servers import Minio


class DeepNames:
    """What S3 itself allows but MinIO, which keeps objects as folders, does not."""

    async def test_a_key_may_be_another_ones_folder(self, store: ObjectStore) -> None:
        keys = ["a", "a/b", "a/b/c", "a.d", "a.d/x", "a.p", "a.p/x.d", "a%", "a%/b", "a-"]
        await put_all(store, *keys)
        assert await listed(store, "") == sorted(keys, key=str.encode)
        for key in keys:
            assert await store.get(key) == key.encode()

    async def test_long_components(self, store: ObjectStore) -> None:
        topic = "t" * 249 + "-0f3c5c8a-6a53-4c39-9f3e-1d6a4b1f2c3d"
        keys = [
            f"{topic}/00000/segment-1.kfs",
            f"{topic}/00000/segment-2.kfs",
            "t" * 240,
            "t" * 241,
            "t" * 239 + "!",
            "t" * 240 + "/x",
            "t" * 240 + ".",
            "t" * 480,
            "é" * 200,
            "t" * 240 + "..",
            "t" * 240 + "-/y",
            "t" * 240 + ".d",
        ]
        await put_all(store, *keys)
        assert await listed(store, "") == sorted(keys, key=str.encode)
        assert await listed(store, f"{topic}/00000/", start_after=keys[0]) == [keys[1]]
        await store.delete(keys[:2])
        assert await listed(store, topic) == []


class TestMemory(Contract, DeepNames):
    @pytest.fixture
    def store(self, memory_store: ObjectStore) -> ObjectStore:
        return memory_store


class TestDirectory(Contract, DeepNames):
    @pytest.fixture
    def store(self, directory_store: ObjectStore) -> ObjectStore:
        return directory_store


class TestS3(Contract):
    @pytest.fixture
    def store(self, s3_store: ObjectStore) -> ObjectStore:
        return s3_store


class TestEncryptedS3(Contract):
    """Each test ends with a look at what it left: all of it has to be encrypted with the key."""

    async def test_there_is_something_to_look_at(self, store: ObjectStore, minio: Minio) -> None:
        await store.put_if_absent("kept/secret", b"x")
        await store.put("kept/replaced", b"x")
        keys = {name: key for name, key in minio.kms_keys(BUCKET).items() if "/kept/" in name}
        assert list(keys.values()) == [f"arn:aws:kms:{minio.kms_key}"] * 2

    @pytest.fixture
    def store(self, encrypted_store: ObjectStore) -> ObjectStore:
        return encrypted_store
