"""What the metadata service composes: the group coordinator of one replica, with its tasks.

Owns: joining the parts of this package, their life and end. Does not own: the replica's registration.
Rules: 1 the journal outlives the requests: a drain lets what is in line reach the store, for a bounded time.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import trio

from libs.concurrency.clock import Clock
from libs.concurrency.rand import Rand
from libs.model.cluster import Replica
from libs.model.ids import ReplicaId, SessionId
from services.metadata.groups.admin import GroupAdmin
from services.metadata.groups.config import GroupsConfig
from services.metadata.groups.coordinator import Coordinator
from services.metadata.groups.expiry import Expiry
from services.metadata.groups.hosting import Hosting
from services.metadata.groups.journal import Journal, JournalStatistics
from services.metadata.groups.offsets import MissingTopics, Offsets
from services.metadata.groups.rpc import GroupsRpc
from services.metadata.kv.port import KV


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupsStatistics:
    """Groups and members in memory, how many groups there may be, requests that are parked, the journal."""

    groups: int
    groups_max: int
    members: int
    parked: int
    journal: JournalStatistics


class Groups:
    """The group coordinator of one replica."""

    def __init__(
        self,
        *,
        coordinator: Coordinator,
        offsets: Offsets,
        admin: GroupAdmin,
        expiry: Expiry,
        journal: Journal,
        config: GroupsConfig,
    ) -> None:
        self.coordinator = coordinator
        self.offsets = offsets
        self.admin = admin
        self.expiry = expiry
        self._journal = journal
        self._config = config

    def rpc_services(self) -> tuple[GroupsRpc, ...]:
        return (GroupsRpc(coordinator=self.coordinator, offsets=self.offsets, admin=self.admin),)

    async def drain(self, timeout_seconds: float) -> None:
        """Gives every group up: requests and those parked get Moved(NOT_COORDINATOR).

        Commits in line are refused too and asked again at the next coordinator; a transaction that is under
        way gets `timeout_seconds` to end.
        """
        self.coordinator.drop_all()
        with trio.move_on_after(timeout_seconds):
            await self._journal.wait_empty()

    def statistics(self) -> GroupsStatistics:
        return GroupsStatistics(
            groups=len(self.coordinator.hosting),
            groups_max=self._config.groups_max,
            members=sum(hosted.state.member_count for hosted in self.coordinator.hosting),
            parked=self.coordinator.parked,
            journal=self._journal.statistics(),
        )


@asynccontextmanager
async def open_groups(
    *,
    kv: KV,
    replica_id: ReplicaId,
    session: SessionId,
    replicas: Callable[[], Mapping[ReplicaId, Replica]],
    missing_topics: MissingTopics,
    clock: Clock,
    rand: Rand,
    config: GroupsConfig | None = None,
) -> AsyncIterator[Groups]:
    """Coordinates groups as `replica_id` in this `session` as long as the block runs.

    `replicas` gives the live replicas as this one last heard of them, itself included; it is asked often.
    """
    config = config or GroupsConfig()
    journal = Journal(kv, config=config, rand=rand)
    async with trio.open_nursery() as nursery:
        new_hosting = partial(
            Hosting,
            kv=kv,
            replica_id=replica_id,
            session=session,
            replicas=replicas,
            clock=clock,
            rand=rand,
            config=config,
            nursery=nursery,
        )
        coordinator = Coordinator(
            kv=kv, journal=journal, clock=clock, new_hosting=lambda on_host: new_hosting(on_host=on_host)
        )
        nursery.start_soon(journal.run)
        nursery.start_soon(coordinator.run)
        admin = GroupAdmin(kv=kv, journal=journal, coordinator=coordinator, config=config)
        expiry = Expiry(
            kv=kv, journal=journal, hosting=coordinator.hosting, admin=admin, clock=clock, config=config
        )
        nursery.start_soon(expiry.run)
        yield Groups(
            coordinator=coordinator,
            offsets=Offsets(
                kv=kv,
                journal=journal,
                coordinator=coordinator,
                missing_topics=missing_topics,
                clock=clock,
                config=config,
            ),
            admin=admin,
            expiry=expiry,
            journal=journal,
            config=config,
        )
        coordinator.drop_all()
        nursery.cancel_scope.cancel()
