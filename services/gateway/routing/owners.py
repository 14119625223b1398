"""The gateway's links to partition owners: one channel and two streams to each life of each owner.

Owns: connecting and connecting again, which owner has a partition (from the watched view), ending links that
nothing leads to any more. Does not own: what is sent (appends.py, fetches.py).
Rules: 1 a link is made when it is first needed; 2 a link lasts while an assignment names its owner's life,
also when the owner's registration is gone: an owner that can't renew goes on serving (promise 6).
"""

from collections.abc import Callable, Sequence
from typing import Final, Protocol

import structlog
import trio

from libs.clients.owner import (
    Appended,
    AppendStream,
    FetchStream,
    ListedOffset,
    OffsetQuery,
    OwnerClient,
    RecordDeletion,
)
from libs.clients.view import ClusterView
from libs.clients.watcher import ClusterWatcher, Connect
from libs.concurrency.rand import Rand
from libs.model.cluster import Assignment, AssignmentState
from libs.model.errors import KafscaleError, Moved, Unavailable
from libs.model.ids import Offset, OwnerId, SessionId, TopicPartition
from services.gateway.routing.append_lane import Route

_PAUSE_SECONDS_MIN: Final = 0.02
_PAUSE_SECONDS_MAX: Final = 1.0
_CONNECT_SECONDS_MAX: Final = 2.0
_LASTED_SECONDS: Final = 1.0
"""A link that lasted so long was up: the next attempt needs no patience."""
_PRUNE_EVERY_SECONDS: Final = 2.0

log = structlog.get_logger(__name__)


class AppendEvents(Protocol):
    """Who hears of appends: called in the link's task, must not wait."""

    def on_reply(
        self, stream: AppendStream, correlation_id: int, index: int, result: Appended | KafscaleError
    ) -> None: ...

    def on_lost(self, stream: AppendStream) -> None:
        """The stream is over; a new one has taken its place."""
        ...


class OwnerLink:
    """The way to one life of one owner. `appends` and `fetches` are the streams of now, up or coming up."""

    def __init__(self, *, owner_id: OwnerId, session: SessionId, address: str) -> None:
        self.owner_id = owner_id
        self.session = session
        self.address = address
        self.appends = AppendStream()
        self.fetches = FetchStream()
        self.scope = trio.CancelScope()
        self._client: OwnerClient | None = None
        self._up = trio.Event()

    @property
    def connected(self) -> bool:
        return self._client is not None

    async def list_offsets(self, queries: Sequence[OffsetQuery]) -> list[ListedOffset]:
        """Raises Unavailable where the owner can't be reached."""
        return await (await self._reached()).list_offsets(queries)

    async def delete_records(
        self, deletions: Sequence[RecordDeletion], *, timeout_seconds: float
    ) -> list[Offset | KafscaleError]:
        """Raises Unavailable where the owner can't be reached, or did not answer in time."""
        client = await self._reached()
        return await client.delete_records(deletions, timeout_seconds=timeout_seconds)

    async def _reached(self) -> OwnerClient:
        with trio.move_on_after(_CONNECT_SECONDS_MAX):
            await self._up.wait()
        if self._client is None:
            raise Unavailable(f"owner {self.owner_id} at {self.address} can't be reached")
        return self._client

    async def run(self, connect: Connect, events: AppendEvents, rand: Rand) -> None:
        """Keeps the link up until its scope is cancelled."""
        pause = _PAUSE_SECONDS_MIN
        with self.scope:
            while True:
                began = trio.current_time()
                reason = await self._one_life(connect, events)
                lasted = trio.current_time() - began >= _LASTED_SECONDS
                if lasted or pause == _PAUSE_SECONDS_MIN:
                    log.info("owner_link_lost", owner=self.owner_id, address=self.address, error=str(reason))
                self._lose(events, reason)
                pause = _PAUSE_SECONDS_MIN if lasted else min(2 * pause, _PAUSE_SECONDS_MAX)
                await trio.sleep(rand.uniform(pause / 2, pause))
        self._lose(events, Moved(f"owner {self.owner_id} has this partition no more"))

    async def _one_life(self, connect: Connect, events: AppendEvents) -> KafscaleError:
        failures: list[KafscaleError] = []
        appends, fetches = self.appends, self.fetches

        def on_reply(correlation_id: int, index: int, result: Appended | KafscaleError) -> None:
            events.on_reply(appends, correlation_id, index, result)

        async def run_appends() -> None:
            try:
                await appends.run(channel, on_reply)
            except KafscaleError as error:
                failures.append(error)
                nursery.cancel_scope.cancel()

        async def run_fetches() -> None:
            try:
                await fetches.run(channel)
            except KafscaleError as error:
                failures.append(error)
                nursery.cancel_scope.cancel()

        try:
            async with connect(self.address) as channel, trio.open_nursery() as nursery:
                self._client = OwnerClient(channel)
                self._up.set()
                nursery.start_soon(run_appends)
                nursery.start_soon(run_fetches)
        except KafscaleError as error:
            failures.append(error)
        return failures[0]

    def _lose(self, events: AppendEvents, reason: KafscaleError) -> None:
        appends, fetches = self.appends, self.fetches
        self.appends, self.fetches = AppendStream(), FetchStream()
        self._client = None
        self._up = trio.Event()
        events.on_lost(appends)
        fetches.fail(Unavailable(f"lost owner {self.owner_id}: {reason.message}"))


class Owners:
    """Finds the link that leads to a partition's owner."""

    def __init__(
        self, *, watcher: ClusterWatcher, connect: Connect, rand: Rand, link_made: Callable[[OwnerLink], None]
    ) -> None:
        self._watcher = watcher
        self._connect = connect
        self._rand = rand
        self._link_made = link_made
        self._links: dict[tuple[OwnerId, SessionId], OwnerLink] = {}

    @property
    def view(self) -> ClusterView:
        return self._watcher.view

    @property
    def links(self) -> Sequence[OwnerLink]:
        return tuple(self._links.values())

    def assignment(self, at: TopicPartition) -> Assignment | None:
        return self.view.assignments.get(at)

    def append_route(self, at: TopicPartition) -> Route | None:
        """Where appends go now; None while nobody would take them: they wait."""
        assignment = self.view.assignments.get(at)
        if assignment is None or assignment.state is AssignmentState.RELEASING:
            return None
        if self.link_of(assignment) is None:
            return None
        return Route(assignment.owner_id, assignment.session, assignment.leader_epoch)

    def link(self, route: Route) -> OwnerLink:
        """The link of a route that `append_route` gave."""
        return self._links[route.owner_id, route.session]

    def fetch_link(self, at: TopicPartition) -> OwnerLink | None:
        """Where the partition can be read now."""
        assignment = self.view.assignments.get(at)
        return None if assignment is None else self.link_of(assignment)

    def link_of(self, assignment: Assignment) -> OwnerLink | None:
        key = (assignment.owner_id, assignment.session)
        link = self._links.get(key)
        if link is not None:
            return link
        owner = self.view.owners.get(assignment.owner_id)
        if owner is None or owner.session != assignment.session:
            return None
        link = OwnerLink(owner_id=owner.owner_id, session=owner.session, address=owner.address)
        self._links[key] = link
        self._link_made(link)
        return link

    async def run_link(self, link: OwnerLink, events: AppendEvents) -> None:
        await link.run(self._connect, events, self._rand)

    async def prune(self) -> None:
        """Ends links that no assignment led to for a while, for ever.

        Not at once: answers of an owner that let its last partition go may still be on their way.
        """
        unwanted: set[tuple[OwnerId, SessionId]] = set()
        while True:
            version = self.view.version
            wanted = {(each.owner_id, each.session) for each in self.view.assignments.values()}
            for key in unwanted - wanted:
                self._links.pop(key).scope.cancel()
            unwanted = self._links.keys() - wanted
            await trio.sleep(_PRUNE_EVERY_SECONDS)
            if not unwanted:
                await self._watcher.wait_changed(version)
