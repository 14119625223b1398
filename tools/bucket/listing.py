"""Walks a bucket by what belongs together: chains, then partitions' folders.

Owns: the walk. Does not own: what is looked for. Rules: 1 one chain's LIST is in memory at a time.
"""

from collections.abc import AsyncIterator
from uuid import UUID

from libs.model.ids import SessionId
from libs.objectstore.port import ObjectInfo
from libs.segments.keys import META_PREFIX, WAL_PREFIX
from tools.bucket.work import Work


async def chain_groups(work: Work) -> AsyncIterator[tuple[SessionId, list[ObjectInfo]]]:
    """Every chain with its LIST; objects below `wal/` that are none of ours are counted as foreign."""
    session: SessionId | None = None
    objects: list[ObjectInfo] = []
    async for info in work.objects(WAL_PREFIX):
        each = _session_of(info.key)
        if each is None:
            work.count("foreign", info)
            work.done([info])
            continue
        if each != session:
            if session is not None:
                yield session, objects
            session, objects = each, []
        objects.append(info)
    if session is not None:
        yield session, objects


def _session_of(key: str) -> SessionId | None:
    name = key.removeprefix(WAL_PREFIX).partition("/")[0]
    try:
        session = SessionId(UUID(name))
    except ValueError:
        return None
    return session if str(session) == name else None


async def data_objects(work: Work) -> AsyncIterator[ObjectInfo]:
    """Everything but chains and what is below `meta/`, in key order. To be read to its end."""
    after = ""
    for skipped in (META_PREFIX, WAL_PREFIX, ""):
        async for info in work.objects(start_after=after, before=skipped):
            yield info
        after = f"{skipped[:-1]}0"  # just behind all that begins with it
