"""Reading everything under a prefix, page by page, as of one revision."""

from libs.model.errors import Fenced
from libs.model.ids import Revision
from services.metadata.kv.port import KV, KeyValue

_ATTEMPTS = 3


async def read_all(kv: KV, prefix: str, *, page: int = 500) -> list[KeyValue]:
    """All keys with the prefix at one revision, which is not older than this call.

    Raises Fenced(GUARD_FAILED) where the store compacts faster than its pages can be read.
    """
    for _ in range(_ATTEMPTS - 1):
        try:
            return await _read_pages(kv, prefix, page)
        except Fenced:
            continue
    return await _read_pages(kv, prefix, page)


async def _read_pages(kv: KV, prefix: str, page: int) -> list[KeyValue]:
    items: list[KeyValue] = []
    start_after, revision, more = "", None, True
    while more:
        result = await kv.range(prefix, start_after=start_after, limit=page, revision=revision)
        items.extend(result.items)
        revision = revision or Revision(result.revision)
        more = result.more and bool(result.items)
        if more:
            start_after = result.items[-1].key
    return items
