"""Asking for partitions to be moved off an owner.

Owns: the mark on an owner that drains, and on single partitions. Does not own: moving them (controller.py).
Rules: 1 a drain that nobody could take over is refused at once, in plain words.
"""

from collections.abc import Sequence
from dataclasses import replace

import structlog

from libs.model.cluster import AssignmentState
from libs.model.errors import Fenced, Invalid, Reason
from libs.model.ids import OwnerId, SessionId, TopicPartition
from services.metadata import keys, stored
from services.metadata.assignment import Candidate, place
from services.metadata.cache import Cache
from services.metadata.kv.port import KV, Delete, ModRevisionIs, Put
from services.metadata.writes import ATTEMPTS_MAX, contended, unchanged, write

PARTITIONS_PER_TXN = 50

log = structlog.get_logger(__name__)


class Drains:
    def __init__(self, kv: KV, cache: Cache) -> None:
        self._kv = kv
        self._cache = cache

    async def drain(
        self, owner_id: OwnerId, session: SessionId, partitions: Sequence[TopicPartition], *, reason: str
    ) -> None:
        """All partitions where none is named: then the owner gets none until it registers a new session.

        Raises Invalid(NOBODY_CAN_TAKE_OVER), Fenced(SESSION_OVER) where that session is not registered.
        """
        await self._cache.catch_up()
        candidates = self._candidates(owner_id)
        if not candidates:
            raise Invalid(
                f"nobody can take over from {owner_id}: there is no other live owner that is not draining",
                reason=Reason.NOBODY_CAN_TAKE_OVER,
            )
        if partitions:
            await self._mark_partitions(owner_id, session, partitions, candidates)
        else:
            await self._mark_owner(owner_id, session)
        log.info("drain_asked", owner=owner_id, partitions=len(partitions) or "all", reason=reason)

    def _candidates(self, but: OwnerId) -> list[Candidate]:
        return [
            Candidate(owner_id=owner_id, zone=owner.value.zone)
            for owner_id, owner in sorted(self._cache.state.live_owners().items())
            if owner_id != but and not owner.value.draining
        ]

    async def _mark_owner(self, owner_id: OwnerId, session: SessionId) -> None:
        owner_key, session_key = keys.owner(owner_id), keys.session(session)
        for _ in range(ATTEMPTS_MAX):
            item, record = await self._kv.get(owner_key), await self._kv.get(session_key)
            owner = None if item is None else stored.owner(item).value
            if item is None or owner is None or owner.session != session:
                raise Fenced(
                    f"session {session} is not registered for {owner_id}", reason=Reason.SESSION_OVER
                )
            if owner.draining:
                return
            value = stored.owner_bytes(replace(owner, draining=True))
            ops: list[Put | Delete] = [Put(key=owner_key, value=value, lease_id=item.lease_id)]
            guards = [unchanged(owner_key, item), unchanged(session_key, record)]
            if record is not None:
                draining = replace(stored.session(record).value, draining=True)
                ops.append(Put(key=session_key, value=stored.session_bytes(draining)))
            if await write(self._kv, guards, ops) is not None:
                return
        raise contended(f"owner {owner_id}")

    async def _mark_partitions(
        self,
        owner_id: OwnerId,
        session: SessionId,
        partitions: Sequence[TopicPartition],
        candidates: Sequence[Candidate],
    ) -> None:
        left = list(dict.fromkeys(partitions))
        for _ in range(ATTEMPTS_MAX + len(left) // PARTITIONS_PER_TXN):
            left = [at for at in left if self._is_assigned(at, owner_id, session)]
            if not left:
                return
            today = {at: known.value.owner_id for at, known in self._cache.state.all_assignments()}
            guards: list[ModRevisionIs] = []
            ops: list[Put | Delete] = []
            for at, target in place(candidates, left[:PARTITIONS_PER_TXN], today).items():
                before = self._cache.state.assignment(at)
                assert before is not None
                after = replace(before.value, state=AssignmentState.RELEASING, target_owner_id=target)
                guards.append(ModRevisionIs(key=keys.assignment(at), revision=before.revision))
                ops.append(Put(key=keys.assignment(at), value=stored.assignment_bytes(after)))
            revision = await write(self._kv, guards, ops)
            if revision is None:
                await self._cache.catch_up()
            else:
                await self._cache.wait_revision(revision)
        raise contended(f"the partitions of {owner_id}")

    def _is_assigned(self, at: TopicPartition, owner_id: OwnerId, session: SessionId) -> bool:
        known = self._cache.state.assignment(at)
        return (
            known is not None
            and (known.value.owner_id, known.value.session) == (owner_id, session)
            and known.value.state is AssignmentState.ASSIGNED
        )
