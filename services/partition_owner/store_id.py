"""Which object store this owner writes to, so that metadata can refuse another than the cluster's.

Owns: reading the store's id, and making it where there is none. Does not own: comparing it (metadata's
cluster_info.py).
Rules: 1 the store decides between racing first owners, like everything else (design section 3, rule 1).
"""

from libs.concurrency.rand import Rand
from libs.model.errors import Corrupt, NotFound
from libs.model.ids import StoreId
from libs.objectstore.port import ObjectStore
from libs.segments.keys import STORE_ID_KEY
from libs.segments.store_id import encode_store_id, parse_store_id


async def ensure_store_id(store: ObjectStore, rand: Rand) -> StoreId:
    """The id of the store, which was probed. Raises Unavailable, Invalid, Corrupt; NotFound where somebody
    deletes it at this very moment.
    """
    found = await find_store_id(store)
    if found is None:
        await store.put_if_absent(STORE_ID_KEY, encode_store_id(StoreId(rand.uuid())))
        found = _parsed(await store.get(STORE_ID_KEY))
    return found


async def find_store_id(store: ObjectStore) -> StoreId | None:
    """None where no owner ever used the store. Raises Unavailable, Invalid, Corrupt."""
    try:
        return _parsed(await store.get(STORE_ID_KEY))
    except NotFound:
        return None


def _parsed(data: bytes) -> StoreId:
    try:
        return parse_store_id(data)
    except Corrupt as error:
        raise Corrupt(
            f"{STORE_ID_KEY} in the object store: {error.message}; restore it from a copy, or delete it, with"
            " every service stopped, and run `python -m tools.bucket adopt`: the next owner writes another"
        ) from error
