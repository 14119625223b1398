"""The standalone process's settings: those of its three services, and where it keeps everything.

Owns: the union. Does not own: the services' own settings.
"""

from typing import ClassVar

from libs.chassis.config import ServiceSettings
from libs.chassis.object_store import ObjectStoreOptions
from services.gateway.config import GatewayOptions
from services.metadata.config import MetadataOptions
from services.partition_owner.config import OwnerOptions


class StandaloneSettings(GatewayOptions, OwnerOptions, MetadataOptions, ObjectStoreOptions, ServiceSettings):
    """Gateway, partition owner and metadata in one process; records in a directory, or in S3 where a bucket
    is named; metadata in SQLite."""

    service: ClassVar[str] = "standalone"
