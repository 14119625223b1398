"""The cluster's identity: written by the first replica that ever starts, checked by every other.

Owns: the key CLUSTER.
Rules: 1 a store of a newer format is refused: this version would misread it; 2 a cluster's records are in one
object store: an owner of another would find no chain of its predecessors there, seal what it took for empty
ones, and what was acknowledged would be gone from every later read.
"""

from base64 import urlsafe_b64encode
from uuid import UUID

import structlog

from libs.concurrency.rand import Rand
from libs.model.errors import Invalid, Reason
from libs.model.ids import StoreId
from proto.metadata import metadata_pb2 as messages
from services.metadata import keys, stored
from services.metadata.kv.port import ABSENT, KV, KeyValue, ModRevisionIs, Put
from services.metadata.writes import ATTEMPTS_MAX, contended, write

FORMAT_VERSION = 1
BEING_REBUILT = 2**31
"""The format of a store that tools/bucket is filling: nobody starts on it until it is done."""

log = structlog.get_logger(__name__)


async def ensure_cluster(kv: KV, rand: Rand) -> str:
    """The cluster's id, which is made where there is none. Raises Invalid, Unavailable."""
    for _ in range(ATTEMPTS_MAX):
        item = await kv.get(keys.CLUSTER)
        if item is not None:
            return _checked(item).cluster_id
        # As Kafka writes cluster ids: a UUID in 22 characters.
        cluster_id = urlsafe_b64encode(rand.uuid().bytes).decode().rstrip("=")
        info = messages.ClusterInfo(cluster_id=cluster_id, format_version=FORMAT_VERSION)
        guard = ModRevisionIs(key=keys.CLUSTER, revision=ABSENT)
        if await write(kv, [guard], [Put(key=keys.CLUSTER, value=info.SerializeToString())]) is not None:
            return cluster_id
    raise contended("the cluster's record")


async def adopt_store(kv: KV, store_id: StoreId) -> None:
    """Makes it the cluster's object store where there was none. Raises Invalid(WRONG_STORE), Unavailable."""
    for _ in range(ATTEMPTS_MAX):
        item = await kv.get(keys.CLUSTER)
        if item is None:
            return  # wiped while its replicas run: nothing says where the records are
        info = _checked(item)
        if info.store_id == store_id.bytes:
            return
        if info.store_id:
            raise Invalid(
                f"the records of cluster {info.cluster_id} are in object store {UUID(bytes=info.store_id)},"
                f" this owner's is {store_id}: set KAFSCALE_S3_BUCKET, KAFSCALE_S3_ENDPOINT and"
                " KAFSCALE_S3_NAMESPACE (KAFSCALE_DATA_DIR where there is no bucket) to where they are;"
                " if they are here, see `python -m tools.bucket adopt`",
                reason=Reason.WRONG_STORE,
            )
        info.store_id = store_id.bytes
        guard = ModRevisionIs(key=keys.CLUSTER, revision=item.mod_revision)
        if await write(kv, [guard], [Put(key=keys.CLUSTER, value=info.SerializeToString())]) is not None:
            log.info("store_adopted", store=str(store_id))
            return
    raise contended("the cluster's record")


def _checked(item: KeyValue) -> messages.ClusterInfo:
    """Raises Invalid where this version must not work on the store."""
    info = stored.parse(messages.ClusterInfo, item)
    if info.format_version == BEING_REBUILT:
        raise Invalid(
            "a rebuild of the metadata store was begun and is not done: run it again with --overwrite"
        )
    if info.format_version > FORMAT_VERSION:
        raise Invalid(
            f"the metadata store has format version {info.format_version}, this program knows up to "
            f"{FORMAT_VERSION}: run a newer one"
        )
    return info
