"""Which groups this replica serves: loading, claiming, dropping.

Owns: the groups in memory and their claims. Does not own: what happens in a group (state.py), its time
(coordinator.py).
Rules: 1 a group is claimed in the store before it is served, and the claim's number grows; 2 whose a group is
follows from the live replicas, but only the claim decides; 3 memory is bounded: idle groups make room.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

import structlog
import trio

from libs.clients.group_types import GroupRecord
from libs.clients.rendezvous import coordinator_of
from libs.concurrency.clock import Clock
from libs.concurrency.rand import Rand
from libs.concurrency.single_flight import SingleFlight
from libs.model.cluster import Replica
from libs.model.errors import Invalid, Moved, Overloaded, Reason, Unavailable
from libs.model.ids import GroupId, MemberId, ReplicaId, SessionId
from libs.model.limits import GROUP_ID_LENGTH_MAX
from services.metadata.groups import errors
from services.metadata.groups.config import GroupsConfig
from services.metadata.groups.effects import Persist
from services.metadata.groups.journal import HeldClaim
from services.metadata.groups.keys import group_key
from services.metadata.groups.state import GroupState
from services.metadata.groups.stored import Claim, decode_group, encode_group
from services.metadata.kv.port import ABSENT, KV, ModRevisionIs, Put

_CLAIM_ATTEMPTS = 4

log = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False, kw_only=True)
class Hosted:
    """A group that is served here."""

    state: GroupState
    held: HeldClaim
    to_persist: Persist | None = None
    """The latest record that is not in line yet."""
    persisting: bool = False
    wakes_at: float | None = None
    """When the coordinator's timer looks at it, at the latest."""
    judged: bool = True
    """False while the store is away: then nobody's time runs."""

    @property
    def group(self) -> GroupId:
        return self.state.group

    @property
    def is_idle(self) -> bool:
        return self.state.is_idle and not self.persisting and not self.held.writes


class Hosting:
    """`replicas` gives the live replicas as last heard; `on_host` hears of each group that was loaded."""

    def __init__(  # noqa: PLR0913 - one argument a port
        self,
        *,
        kv: KV,
        replica_id: ReplicaId,
        session: SessionId,
        replicas: Callable[[], Mapping[ReplicaId, Replica]],
        clock: Clock,
        rand: Rand,
        config: GroupsConfig,
        nursery: trio.Nursery,
        on_host: Callable[[Hosted], None],
    ) -> None:
        self._kv = kv
        self._replica_id = replica_id
        self._session = session
        self._replicas = replicas
        self._clock = clock
        self._rand = rand
        self._config = config
        self._on_host = on_host
        self._loads: SingleFlight[GroupId, Hosted | None] = SingleFlight(
            nursery, runs_max=config.loads_at_once_max
        )
        self._hosted: dict[GroupId, Hosted] = {}
        self._closed = False
        self._replicas_before: frozenset[ReplicaId] = frozenset()

    def __len__(self) -> int:
        return len(self._hosted)

    def __iter__(self) -> Iterator[Hosted]:
        return iter(tuple(self._hosted.values()))

    def get(self, group: GroupId) -> Hosted | None:
        return self._hosted.get(group)

    def close(self) -> None:
        """From now on every group is somebody else's."""
        self._closed = True

    def is_mine(self, group: GroupId) -> bool:
        return not self._closed and coordinator_of(group, self._replicas()) == self._replica_id

    def take_foreign(self) -> list[Hosted]:
        """Groups that are somebody else's since the live replicas changed; told once a change."""
        replicas = frozenset(self._replicas())
        if replicas == self._replicas_before:
            return []
        self._replicas_before = replicas
        return [hosted for hosted in self if coordinator_of(hosted.group, replicas) != self._replica_id]

    def check_mine(self, group: GroupId) -> None:
        """Raises Moved(NOT_COORDINATOR, COORDINATOR_LOADING), Invalid(INVALID_GROUP_ID)."""
        if not 0 < len(group) <= GROUP_ID_LENGTH_MAX:
            raise Invalid(
                f"a group's name has 1 to {GROUP_ID_LENGTH_MAX} characters, not {len(group)}",
                reason=Reason.INVALID_GROUP_ID,
            )
        if not self._closed and not self._replicas():
            raise Moved("this replica knows no replicas yet: ask again", reason=Reason.COORDINATOR_LOADING)
        if not self.is_mine(group):
            raise errors.not_coordinator(group)

    async def find(self, group: GroupId, *, create: bool) -> Hosted | None:
        """The group, loaded and claimed where it has to be; None where there is none and `create` is false.

        Raises Moved, Overloaded(THROTTLED) when too many groups are in use, and Unavailable
        (METADATA_UNAVAILABLE) while the store can't be reached.
        """
        self.check_mine(group)
        hosted = self._hosted.get(group)
        while hosted is None:
            hosted = await self._loads.run(group, partial(self._load, group, create=create))
            if hosted is None and not create:
                return None
            if hosted is not None and hosted.held.lost:
                hosted = None
            self.check_mine(group)
        return hosted

    def forget(self, hosted: Hosted) -> None:
        """What is in line under its claim is refused from now on."""
        hosted.held.lost = True
        if self._hosted.get(hosted.group) is hosted:
            del self._hosted[hosted.group]

    async def _load(self, group: GroupId, *, create: bool) -> Hosted | None:
        known = self._hosted.get(group)
        if known is not None:
            return known
        self._make_room()
        key = group_key(group)
        try:
            for _ in range(_CLAIM_ATTEMPTS):
                item = await self._kv.get(key)
                if item is None and not create:
                    return None
                record, number, revision = GroupRecord(), 0, ABSENT
                if item is not None:
                    record, before = decode_group(item)
                    number, revision = before.number, item.mod_revision
                if not record.members and not record.empty_since_ms:
                    record = replace(record, empty_since_ms=self._clock.now_ms())
                claim = Claim(replica_id=self._replica_id, session=self._session, number=number + 1)
                put = Put(key=key, value=encode_group(record, claim))
                result = await self._kv.txn([ModRevisionIs(key=key, revision=revision)], [put])
                if result.succeeded:
                    held = HeldClaim(group=group, claim=claim, revision=result.revision)
                    return self._host(held, record)
        except Unavailable as error:
            # Also where the claim's outcome is unknown: whoever asks again reads first.
            raise errors.store_unavailable(
                f"group {group!r} can't be loaded: {error.message}", outcome_unknown=False
            ) from error
        raise errors.not_coordinator(group)

    def _host(self, held: HeldClaim, record: GroupRecord) -> Hosted:
        state = GroupState(
            held.group,
            config=self._config,
            new_member_id=self._new_member_id,
            record=record,
            now=trio.current_time(),
        )
        hosted = self._hosted[held.group] = Hosted(state=state, held=held)
        log.info("group_claimed", group=held.group, claim=held.claim.number, members=state.member_count)
        self._on_host(hosted)
        return hosted

    def _make_room(self) -> None:
        if len(self._hosted) < self._config.groups_max:
            return
        for hosted in self._hosted.values():
            if hosted.is_idle:
                self.forget(hosted)
                return
        raise Overloaded(f"{len(self._hosted)} groups are in use on this coordinator, it takes no more")

    def _new_member_id(self, prefix: str) -> MemberId:
        return MemberId(f"{prefix}-{self._rand.uuid()}")
