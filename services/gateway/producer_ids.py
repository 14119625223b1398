"""Producer ids from blocks that metadata gives (KIP-98).

Owns: the block in use. Rules: 1 an id is given once; what is left of a block at the end is wasted, not
reused.
"""

from typing import Final

import trio

from libs.clients.metadata import MetadataClient
from libs.model.ids import ProducerId

_BLOCK: Final = 100


class ProducerIds:
    def __init__(self, metadata: MetadataClient) -> None:
        self._metadata = metadata
        self._left: list[int] = []
        self._lock = trio.Lock()

    async def take(self) -> ProducerId:
        """Raises Unavailable where a new block is needed and metadata can't be reached."""
        async with self._lock:
            if not self._left:
                self._left = list(reversed(await self._metadata.allocate_producer_ids(_BLOCK)))
            return ProducerId(self._left.pop())
