"""Which bucket and which metadata store: the services' own settings, from the same variables and flags.

Owns: reading them for a tool. Does not own: their names and checks (the services' config.py).
Rules: 1 a variable of any service is accepted, so that the environment of one will do; 2 a flag wins.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import ClassVar, Self

import trio
from pydantic import Field

from libs.chassis.config import Addresses, variable_of
from libs.chassis.object_store import ObjectStoreOptions
from libs.concurrency.rand import Rand
from libs.model.errors import Invalid
from libs.objectstore.opening import open_object_store
from libs.objectstore.port import ObjectStore
from services.gateway.config import GatewaySettings
from services.metadata.config import MetadataSettings
from services.partition_owner.config import OwnerSettings
from services.standalone.config import StandaloneSettings

_SERVICES = (GatewaySettings, MetadataSettings, OwnerSettings, StandaloneSettings)


class BucketSettings(ObjectStoreOptions, MetadataSettings):
    """The bucket (or directory) and, where one is needed, the metadata store or service."""

    service: ClassVar[str] = "bucket"

    metadata_addresses: Addresses = Field(
        default=(), description="host:port of the metadata replicas, by commas; empty: the bucket alone"
    )

    @classmethod
    def load(cls, *, argv: Sequence[str], environ: Mapping[str, str]) -> Self:
        """Like any service's, but the other services' variables are passed over."""
        others = {variable_of(field) for each in _SERVICES for field in each.model_fields}
        others -= {variable_of(field) for field in cls.model_fields}
        return super().load(
            argv=argv, environ={name: value for name, value in environ.items() if name not in others}
        )


@asynccontextmanager
async def open_store(settings: BucketSettings, *, gets_max: int, rand: Rand) -> AsyncIterator[ObjectStore]:
    """The bucket as it is: unprobed, because a probe writes. Raises Invalid, Unavailable."""
    store_settings = replace(settings.store_settings(), probe=False, gets_max=gets_max, read_bucket=None)
    directory = store_settings.directory
    if directory is not None and not await trio.Path(directory).is_dir():
        raise Invalid(f"there is no bucket at {directory}: check KAFSCALE_S3_BUCKET or KAFSCALE_DATA_DIR")
    async with open_object_store(store_settings, rand=rand) as opened:
        yield opened.store
