"""The object store on Amazon S3 and what speaks its API (MinIO, R2, Ceph): the only door to boto3.

Owns: S3's operations and settings. Does not own: retries (`retrying.py`; a chain's writer for its PUTs).
Rules: 1 one attempt a call: no retries hidden in libraries; 2 puts and gets have separate threads, so that
cold reads never hold up an acknowledgement; 3 a put that has begun is waited for, a read is abandoned when
its caller is cancelled; 4 no HTTP proxy is used.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import SecretStr
from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError

from libs.concurrency.threads import Threads
from libs.model.errors import Invalid, Unavailable
from libs.objectstore.body import buffers_of
from libs.objectstore.keyrules import check_key, check_limit, check_range, no_such_object
from libs.objectstore.lifecycle import dangerous_rules
from libs.objectstore.pools import GET_POOL, PUT_POOL
from libs.objectstore.port import LIST_LIMIT_MAX, Body, Buffer, ListPage, ObjectInfo, PutResult
from libs.objectstore.s3_errors import error_of_boto, error_of_transport, error_of_xml
from libs.objectstore.s3_wire import S3Wire, WireSettings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ObjectTypeDef

T = TypeVar("T")

_DELETES_MAX = 1000  # S3's DeleteObjects
_OK = (200, 204, 206)


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Settings:
    """Where the bucket is. No `endpoint`: Amazon's own; no keys: boto3's usual chain (role, profile, ...)."""

    bucket: str
    endpoint: str | None = None
    region: str = "us-east-1"
    access_key: str | None = None
    secret_key: SecretStr | None = None
    kms_key: str | None = None
    """With which the store encrypts every object (SSE-KMS); None: as the bucket says."""
    ca_file: str | None = None
    connect_timeout_seconds: float = 3.0
    read_timeout_seconds: float = 10.0


class S3ObjectStore:
    """One bucket; made by `open_s3_store`."""

    def __init__(
        self, *, bucket: str, kms_key: str | None, client: "S3Client", wire: S3Wire, threads: Threads
    ) -> None:
        """`threads` has the pools PUT_POOL and GET_POOL."""
        self._bucket = bucket
        self._encryption = _encryption(kms_key)
        self._client = client
        self._wire = wire
        self._threads = threads

    async def put_if_absent(self, key: str, body: Body) -> PutResult:
        check_key(key)
        return await self._threads.run(PUT_POOL, self._put, key, buffers_of(body), {"If-None-Match": "*"})

    async def put(self, key: str, body: Body) -> None:
        check_key(key)
        await self._threads.run(PUT_POOL, self._put, key, buffers_of(body), {})

    async def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        check_key(key)
        check_range(start, length)
        whole = start == 0 and length is None
        asked = "" if whole else f"bytes={start}-{'' if length is None else start + length - 1}"
        answer = await self._threads.run(GET_POOL, self._read, "GET", key, asked, abandon_on_cancel=True)
        return b"" if answer.status == 416 else answer.data

    async def get_suffix(self, key: str, length: int) -> tuple[bytes, int]:
        check_key(key)
        check_range(0, length)
        answer = await self._threads.run(
            GET_POOL, self._read, "GET", key, f"bytes=-{length}", abandon_on_cancel=True
        )
        if answer.status == 416:  # only an empty object has no last byte
            return b"", 0
        size = answer.headers.get("Content-Range", "").rpartition("/")[2]
        return answer.data, int(size) if size else len(answer.data)

    async def head(self, key: str) -> ObjectInfo:
        check_key(key)
        return await self._boto(GET_POOL, f"look at the object {key!r}", self._head, key, writes=False)

    async def list(self, prefix: str, *, start_after: str = "", limit: int = LIST_LIMIT_MAX) -> ListPage:
        check_limit(limit)
        return await self._boto(
            GET_POOL, f"list the objects {prefix!r}", self._list, prefix, start_after, limit, writes=False
        )

    async def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            check_key(key)
        for at in range(0, len(keys), _DELETES_MAX):
            batch = tuple(keys[at : at + _DELETES_MAX])
            await self._boto(PUT_POOL, f"delete {len(batch)} objects", self._delete, batch, writes=True)

    def close(self) -> None:
        """Closes the idle connections."""
        self._client.close()
        self._wire.close()

    async def dangerous_rules(self, prefix: str) -> Sequence[str]:
        """The bucket's lifecycle rules that would delete or hide objects under `prefix`, in words.

        Empty where the store has no lifecycle rules or does not let us read them.
        """
        return await self._boto(GET_POOL, "read the lifecycle rules", self._rules, prefix, writes=False)

    def _put(self, key: str, buffers: Sequence[Buffer], headers: dict[str, str]) -> PutResult:
        doing = f"put the object {key!r}"
        try:
            answer = self._wire.request("PUT", key, {**headers, **self._encryption}, buffers)
        except (BotoCoreError, ClientError) as error:  # it could not be signed: nothing was sent
            raise error_of_boto(doing, error, writes=False) from error
        except HTTPError as error:
            raise error_of_transport(doing, error, writes=True) from error
        if answer.status in _OK:
            return PutResult.CREATED
        if answer.status == 412 and headers:
            return PutResult.EXISTS
        raise error_of_xml(doing, answer.status, answer.data, writes=True)

    def _read(self, method: str, key: str, asked: str) -> BaseHTTPResponse:
        doing = f"read the object {key!r}"
        try:
            answer = self._wire.request(method, key, {"Range": asked} if asked else {})
        except (BotoCoreError, ClientError) as error:
            raise error_of_boto(doing, error, writes=False) from error
        except HTTPError as error:
            raise error_of_transport(doing, error, writes=False) from error
        if answer.status in _OK or (answer.status == 416 and asked):
            return answer
        raise error_of_xml(doing, answer.status, answer.data, writes=False)

    def _head(self, key: str) -> ObjectInfo:
        try:
            found = self._client.head_object(Bucket=self._bucket, Key=key)
        except ClientError as error:
            if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 404:
                raise no_such_object(key) from None
            raise
        return ObjectInfo(
            key=key,
            size_bytes=found["ContentLength"],
            modified_ms=int(found["LastModified"].timestamp() * 1000),
        )

    def _list(self, prefix: str, start_after: str, limit: int) -> ListPage:
        page = self._client.list_objects_v2(
            Bucket=self._bucket, Prefix=prefix, StartAfter=start_after, MaxKeys=limit
        )
        return ListPage(
            objects=tuple(_info(found) for found in page.get("Contents", [])),
            truncated=page.get("IsTruncated", False),
        )

    def _delete(self, keys: Sequence[str]) -> None:
        answer = self._client.delete_objects(
            Bucket=self._bucket, Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True}
        )
        for failed in answer.get("Errors", []):
            if failed.get("Code") != "NoSuchKey":
                raise Unavailable(
                    f"can't delete the object {failed.get('Key')!r}: "
                    f"{failed.get('Code')} ({failed.get('Message')})",
                    outcome_unknown=True,
                )

    def _rules(self, prefix: str) -> Sequence[str]:
        try:
            answer = self._client.get_bucket_lifecycle_configuration(Bucket=self._bucket)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") == "NoSuchBucket":
                raise
            return []  # none set, not permitted, or not a thing of this store
        return dangerous_rules(answer.get("Rules", []), prefix)

    async def _boto(self, pool: str, doing: str, call: Callable[..., T], *args: object, writes: bool) -> T:
        try:
            return await self._threads.run(pool, lambda: call(*args), abandon_on_cancel=not writes)
        except (BotoCoreError, ClientError) as error:
            raise error_of_boto(doing, error, writes=writes) from error


@asynccontextmanager
async def open_s3_store(
    settings: S3Settings, *, threads: Threads, connections_max: int
) -> AsyncIterator[S3ObjectStore]:
    """Makes the clients; sends nothing yet. Raises Invalid when the settings can't be right."""
    store = await threads.run(GET_POOL, _made, settings, threads, connections_max)
    try:
        yield store
    finally:
        store.close()


def _made(settings: S3Settings, threads: Threads, connections_max: int) -> S3ObjectStore:
    """Blocking: boto3 reads its models and, where no keys are given, looks for credentials."""
    session = boto3.session.Session(
        aws_access_key_id=settings.access_key,
        aws_secret_access_key=settings.secret_key.get_secret_value() if settings.secret_key else None,
        region_name=settings.region,
    )
    try:
        client = session.client(
            "s3",
            endpoint_url=settings.endpoint,
            verify=settings.ca_file,
            config=_config(settings, connections_max),
        )
        bucket_url = _bucket_url(client, settings.bucket)
    except (BotoCoreError, ValueError) as error:
        raise Invalid(f"the settings of the object store can't be right: {error}") from error
    credentials = session.get_credentials()
    if credentials is None:
        raise Invalid("there are no credentials for the object store; set KAFSCALE_S3_ACCESS_KEY")
    wire = S3Wire(
        WireSettings(
            bucket_url=bucket_url,
            region=settings.region,
            connections_max=connections_max,
            connect_timeout_seconds=settings.connect_timeout_seconds,
            read_timeout_seconds=settings.read_timeout_seconds,
            ca_file=settings.ca_file,
        ),
        credentials,
    )
    return S3ObjectStore(
        bucket=settings.bucket, kms_key=settings.kms_key, client=client, wire=wire, threads=threads
    )


def _encryption(kms_key: str | None) -> dict[str, str]:
    """Headers of every PUT. Reads need none: the store knows each object's key.

    Whether it is used for each object or by a bucket key (fewer calls to KMS) stays the bucket's setting.
    """
    if kms_key is None:
        return {}
    return {
        "x-amz-server-side-encryption": "aws:kms",
        "x-amz-server-side-encryption-aws-kms-key-id": kms_key,
    }


def _config(settings: S3Settings, connections_max: int) -> Config:
    return Config(
        signature_version="s3v4",
        retries={"mode": "standard", "total_max_attempts": 1},
        max_pool_connections=connections_max,
        connect_timeout=settings.connect_timeout_seconds,
        read_timeout=settings.read_timeout_seconds,
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        proxies={},
        s3={"addressing_style": "path" if settings.endpoint else "auto", "payload_signing_enabled": False},
    )


def _bucket_url(client: "S3Client", bucket: str) -> str:
    """Where botocore's rules (region, path or host style) put the bucket, read off a signed URL."""
    url = urlsplit(client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"}))
    return f"{url.scheme}://{url.netloc}{url.path.removesuffix('/k')}"


def _info(found: "ObjectTypeDef") -> ObjectInfo:
    return ObjectInfo(
        key=found["Key"],
        size_bytes=found["Size"],
        modified_ms=int(found["LastModified"].timestamp() * 1000),
    )
