"""Looking at groups and deleting them.

Owns: list, describe, delete. Does not own: what a group is (state.py).
Rules: 1 looking never claims a group; 2 a group is deleted offsets first, its own key last, all under its
claim, so that a deletion that broke off can be done again.
"""

from itertools import islice

from libs.clients.group_types import GroupDescription, GroupPhase, GroupRecord, ListedGroup
from libs.model.errors import Moved, Unavailable
from libs.model.ids import GroupId, MemberId
from services.metadata.groups import errors
from services.metadata.groups.config import GroupsConfig
from services.metadata.groups.coordinator import Coordinator
from services.metadata.groups.journal import HeldClaim, Journal
from services.metadata.groups.keys import GROUPS_PREFIX, group_key, group_of_key, offsets_prefix
from services.metadata.groups.state import GroupState
from services.metadata.groups.stored import decode_group, decode_offset, encode_group
from services.metadata.kv.port import KV, Delete, Put
from services.metadata.paging import read_all

_GROUPS_PAGE = 50
"""Groups are values of up to 1 MiB."""
_WRITE_SECONDS_MAX = 10.0


class GroupAdmin:
    """Methods raise Unavailable(METADATA_UNAVAILABLE) while the store can't be reached."""

    def __init__(self, *, kv: KV, journal: Journal, coordinator: Coordinator, config: GroupsConfig) -> None:
        self._kv = kv
        self._journal = journal
        self._coordinator = coordinator
        self._config = config

    async def list_groups(self) -> tuple[ListedGroup, ...]:
        """Every group that the store knows; this replica's own as they are now, others as last stored."""
        listed: dict[GroupId, ListedGroup] = {}
        for item in await read_all(self._kv, GROUPS_PREFIX, page=_GROUPS_PAGE):
            group, (record, _) = group_of_key(item.key), decode_group(item)
            phase = GroupPhase.STABLE if record.members else GroupPhase.EMPTY
            listed[group] = ListedGroup(group=group, protocol_type=record.protocol_type, phase=phase)
        for hosted in self._coordinator.hosting:
            if hosted.group in listed:
                listed[hosted.group] = ListedGroup(
                    group=hosted.group, protocol_type=hosted.state.protocol_type, phase=hosted.state.phase
                )
        return tuple(listed.values())

    async def describe(self, group: GroupId) -> GroupDescription:
        """Raises NotFound(GROUP_ID_NOT_FOUND), Moved(NOT_COORDINATOR)."""
        self._coordinator.hosting.check_mine(group)
        hosted = self._coordinator.hosting.get(group)
        if hosted is not None:
            return hosted.state.describe()
        item = await self._kv.get(group_key(group))
        if item is None:
            raise errors.no_such_group(group)
        record, _ = decode_group(item)
        return GroupState(group, config=self._config, new_member_id=MemberId, record=record).describe()

    async def delete(self, group: GroupId, *, unless_committed_since_ms: int | None = None) -> None:
        """Raises NotFound(GROUP_ID_NOT_FOUND), Invalid(NON_EMPTY_GROUP), Moved(NOT_COORDINATOR).

        With `unless_committed_since_ms`, a wall time, a group with a later commit stays, silently.
        """
        hosted = await self._coordinator.hosting.find(group, create=False)
        if hosted is None:
            raise errors.no_such_group(group)
        if hosted.state.phase is not GroupPhase.EMPTY:
            raise errors.non_empty_group(group)
        # Whoever joins or commits from now on claims the group anew, and this deletion stops.
        self._coordinator.drop(hosted, errors.not_coordinator(group))
        held = HeldClaim(group=group, claim=hosted.held.claim, revision=hosted.held.revision, doubtful=True)
        try:
            await self._erase(held, hosted.state.record(), unless_committed_since_ms)
        except Moved:
            # Its outcome was unknown in between, or the group was claimed.
            if await self._kv.get(held.key) is not None:
                raise

    async def _erase(self, held: HeldClaim, record: GroupRecord, since_ms: int | None) -> None:
        # A write ends the race with commits that were under way: what is read next is all there is.
        put = Put(key=held.key, value=encode_group(record, held.claim))
        await self._journal.write(held, [put], timeout_seconds=_WRITE_SECONDS_MAX)
        try:
            items = await read_all(self._kv, offsets_prefix(held.group))
        except Unavailable as error:
            raise errors.store_unavailable(error.message, outcome_unknown=True) from error
        if since_ms is not None and any(decode_offset(item).committed_ms > since_ms for item in items):
            return
        deletes = iter([Delete(key=item.key) for item in items])
        while chunk := tuple(islice(deletes, self._config.batch_operations_max)):
            await self._journal.write(held, chunk, timeout_seconds=_WRITE_SECONDS_MAX)
        await self._journal.write(held, [Delete(key=held.key)], timeout_seconds=_WRITE_SECONDS_MAX)
