"""The object store as settings name it, measured: `KAFSCALE_S3_BUCKET` selects S3, else the directory.

Owns: the store's settings and its metrics. Does not own: the adapters (libs/objectstore).
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

from pydantic import BaseModel, Field, SecretStr, model_validator

from libs.concurrency.rand import Rand
from libs.model.errors import Invalid, KafscaleError, Reason
from libs.objectstore.opening import ObjectStoreSettings, OpenedObjectStore, open_object_store
from libs.telemetry.metrics import Metrics

OBJECTS_FOLDER = "objects"


class ObjectStoreOptions(BaseModel):
    """Where records live."""

    data_dir: Path = Field(default=Path("data"), description="folder of the embedded stores")
    s3_bucket: str | None = Field(
        default=None, min_length=3, max_length=63, description="bucket; unset: objects/ in the data directory"
    )
    s3_read_bucket: str | None = Field(
        default=None,
        min_length=3,
        max_length=63,
        description="copy of the bucket, kept by the store, that consumers' reads try first",
    )
    s3_endpoint: str | None = Field(
        default=None, pattern=r"^https?://", description="URL of an S3 that is not Amazon's own"
    )
    s3_region: str = Field(default="us-east-1", description="the bucket's region")
    s3_access_key: str | None = Field(
        default=None, description="access key; unset: the environment's own credentials, as the AWS tools do"
    )
    s3_secret_key: SecretStr | None = Field(default=None, description="secret key of the access key")
    s3_kms_key: str | None = Field(
        default=None,
        max_length=2048,
        pattern=r"^[a-zA-Z0-9:/_-]+$",
        description="KMS key (id, ARN or alias) that encrypts every object; unset: as the bucket says",
    )
    s3_namespace: str = Field(default="", description="prefix of every key, so that clusters share a bucket")

    @model_validator(mode="after")
    def _of_a_bucket(self) -> Self:
        if self.s3_kms_key and not self.s3_bucket:
            raise ValueError("KAFSCALE_S3_KMS_KEY needs KAFSCALE_S3_BUCKET: a directory is not encrypted")
        if self.s3_read_bucket and not self.s3_bucket:
            raise ValueError("KAFSCALE_S3_READ_BUCKET needs KAFSCALE_S3_BUCKET, of which it is a copy")
        if self.s3_read_bucket and self.s3_read_bucket == self.s3_bucket:
            raise ValueError("KAFSCALE_S3_READ_BUCKET must be another bucket than KAFSCALE_S3_BUCKET")
        return self

    def store_settings(self) -> ObjectStoreSettings:
        return ObjectStoreSettings(
            directory=None if self.s3_bucket else str(self.data_dir / OBJECTS_FOLDER),
            bucket=self.s3_bucket,
            read_bucket=self.s3_read_bucket,
            endpoint=self.s3_endpoint,
            region=self.s3_region,
            access_key=self.s3_access_key,
            secret_key=self.s3_secret_key,
            kms_key=self.s3_kms_key,
            namespace=self.s3_namespace,
        )


class ObjectStoreMetrics:
    """The Recorder of libs/objectstore as metrics. They are called s3 whichever store there is."""

    def __init__(self, metrics: Metrics) -> None:
        self._operations = metrics.tally(
            "kafscale_s3_operations", "object store operations", "operation", "outcome"
        )
        self._bytes = metrics.tally(
            "kafscale_s3_bytes", "bytes sent to and received from the object store", "operation"
        )
        self._seconds = metrics.histogram("kafscale_s3_operation_seconds", "how long each took")

    def observe(self, operation: str, outcome: str, seconds: float, size_bytes: int) -> None:
        self._operations.add(1, operation, outcome)
        self._bytes.add(size_bytes, operation)
        self._seconds.record(seconds, {"operation": operation})


@asynccontextmanager
async def open_configured_store(
    options: ObjectStoreOptions, *, rand: Rand, metrics: Metrics
) -> AsyncIterator[OpenedObjectStore]:
    """The store, probed. Raises with the settings' names where it does not work: a start ends there."""
    settings = options.store_settings()
    if settings.directory is not None:
        _make(Path(settings.directory))
    opening = open_object_store(settings, rand=rand, recorder=ObjectStoreMetrics(metrics))
    try:
        opened = await opening.__aenter__()
    except KafscaleError as error:
        where = settings.directory or f"bucket {settings.bucket} at {settings.endpoint or 'Amazon S3'}"
        hint = (
            "check KAFSCALE_DATA_DIR"
            if settings.directory
            else "check KAFSCALE_S3_BUCKET, KAFSCALE_S3_ENDPOINT, KAFSCALE_S3_REGION,"
            " KAFSCALE_S3_ACCESS_KEY and KAFSCALE_S3_SECRET_KEY"
        )
        raise type(error)(f"the object store ({where}) can't be used: {error.message}; {hint}") from error
    try:
        yield opened
    finally:
        await opening.__aexit__(None, None, None)


def _make(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        text = f"cannot create {directory}: {error.strerror}; choose another KAFSCALE_DATA_DIR"
        raise Invalid(text, reason=Reason.INVALID_CONFIG) from error
