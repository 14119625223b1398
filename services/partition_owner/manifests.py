"""Reads a partition's manifest.

Owns: whether it is the one that its key names. Does not own: which one counts (the metadata store says it),
its bytes.
"""

from libs.model.errors import Corrupt
from libs.model.ids import TopicPartition
from libs.objectstore.port import ObjectStore
from libs.segments.keys import parse_manifest_key
from libs.segments.manifest import Manifest, parse_manifest


async def read_manifest(store: ObjectStore, key: str, tp: TopicPartition) -> Manifest:
    """The manifest of `tp` at `key`. Raises NotFound(NO_SUCH_OBJECT), Unavailable, and Corrupt where it is
    damaged or another one.
    """
    named = parse_manifest_key(key)
    if named is None:
        raise Corrupt(f"{tp} has a manifest by the name of {key!r}")
    folder, name = named
    manifest = parse_manifest(await store.get(key))
    found = (manifest.tp, manifest.leader_epoch, manifest.n)
    if found != (tp, *name) or (folder.topic_id, folder.partition) != (tp.topic_id, tp.partition):
        raise Corrupt(
            f"the manifest {key} of {tp} says that it is {found[0]}'s, epoch {found[1]}, n {found[2]}"
        )
    return manifest
