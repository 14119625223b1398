"""The cluster's identity: written by the first replica that ever starts, checked by every other.

Rules: 1 a store of a newer format is refused: this version would misread it.
"""

from base64 import urlsafe_b64encode

from libs.concurrency.rand import Rand
from libs.model.errors import Invalid
from proto.metadata import metadata_pb2 as messages
from services.metadata import keys, stored
from services.metadata.kv.port import ABSENT, KV, ModRevisionIs, Put
from services.metadata.writes import ATTEMPTS_MAX, contended, write

FORMAT_VERSION = 1
BEING_REBUILT = 2**31
"""The format of a store that tools/bucket is filling: nobody starts on it until it is done."""


async def ensure_cluster(kv: KV, rand: Rand) -> str:
    """The cluster's id, which is made where there is none. Raises Invalid, Unavailable."""
    for _ in range(ATTEMPTS_MAX):
        item = await kv.get(keys.CLUSTER)
        if item is not None:
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
            return info.cluster_id
        # As Kafka writes cluster ids: a UUID in 22 characters.
        cluster_id = urlsafe_b64encode(rand.uuid().bytes).decode().rstrip("=")
        info = messages.ClusterInfo(cluster_id=cluster_id, format_version=FORMAT_VERSION)
        guard = ModRevisionIs(key=keys.CLUSTER, revision=ABSENT)
        if await write(kv, [guard], [Put(key=keys.CLUSTER, value=info.SerializeToString())]) is not None:
            return cluster_id
    raise contended("the cluster's record")
