"""Which store a replica stands on, by its settings: etcd where endpoints are set, else SQLite.

Owns: the choice. Does not own: the adapters.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from libs.concurrency.rand import Rand
from libs.rpc import ClientTls
from services.metadata.config import MetadataSettings
from services.metadata.kv.etcd import open_etcd_kv
from services.metadata.kv.etcd_client import Credentials
from services.metadata.kv.port import KV
from services.metadata.kv.sqlite import open_sqlite_kv


@asynccontextmanager
async def open_kv(settings: MetadataSettings, *, rand: Rand) -> AsyncIterator[KV]:
    """Raises Invalid for a data directory that can't be used or TLS files that can't be read."""
    if not settings.etcd_endpoints:
        async with open_sqlite_kv(settings.data_dir) as sqlite:
            yield sqlite
        return
    credentials = None
    if settings.etcd_username:
        credentials = Credentials(
            username=settings.etcd_username, password=settings.etcd_password.get_secret_value()
        )
    tls = ClientTls(
        ca_file=settings.etcd_ca_file, cert_file=settings.etcd_cert_file, key_file=settings.etcd_key_file
    )
    async with open_etcd_kv(
        settings.etcd_endpoints, cluster=settings.cluster, credentials=credentials, tls=tls, rand=rand
    ) as etcd:
        yield etcd
