"""Producer ids in blocks: a block is taken by the transaction that moves the counter past it (KIP-98).

Rules: 1 an id is given out at most once: an unknown outcome wastes its block.
"""

from libs.model.errors import Invalid
from libs.model.ids import ProducerId
from proto.metadata import metadata_pb2 as messages
from services.metadata import keys, stored
from services.metadata.kv.port import KV, Put
from services.metadata.writes import ATTEMPTS_MAX, contended, unchanged

BLOCK_IDS_MAX = 100_000


class ProducerIds:
    def __init__(self, kv: KV) -> None:
        self._kv = kv

    async def allocate(self, count: int) -> range:
        """A block of `count` ids that nobody else ever gets. Raises Invalid, Unavailable."""
        if not 1 <= count <= BLOCK_IDS_MAX:
            raise Invalid(f"a block of {count} producer ids; 1 to {BLOCK_IDS_MAX} are possible")
        for _ in range(ATTEMPTS_MAX):
            item = await self._kv.get(keys.PRODUCER_IDS)
            first = 0 if item is None else stored.parse(messages.ProducerIds, item).next
            put = Put(
                key=keys.PRODUCER_IDS, value=messages.ProducerIds(next=first + count).SerializeToString()
            )
            if (await self._kv.txn([unchanged(keys.PRODUCER_IDS, item)], [put])).succeeded:
                return range(ProducerId(first), ProducerId(first + count))
        raise contended("the producer id counter")
