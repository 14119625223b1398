"""The coordinator: requests of members meet the state machines, parked ones wait here, time passes.

Owns: parked requests, the timers, carrying out effects. Does not own: the rules of groups (state.py), claims
(hosting.py), the way to the store (journal.py), committed offsets (offsets.py).
Rules:
1 a caller that goes away loses its reply, its member stays until its time is over, as in Kafka;
2 nobody is expired before the store confirmed the claim: while it can't be reached heartbeats are answered
  from memory, and afterwards everybody has the full time again;
3 the store sees one write for a completed rebalance, one for a group that empties, none for a heartbeat.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

import structlog
import trio

from libs.clients.group_types import (
    Heartbeat,
    JoinGroup,
    JoinGroupReply,
    LeaveGroup,
    LeftMember,
    SyncGroup,
    SyncGroupReply,
)
from libs.concurrency.clock import Clock
from libs.model.errors import KafscaleError, Moved, Unavailable
from libs.model.ids import GroupId
from libs.model.limits import VALUE_BYTES_MAX
from services.metadata.groups import errors
from services.metadata.groups.effects import Effect, Persist, Reply, Ticket
from services.metadata.groups.hosting import Hosted, Hosting
from services.metadata.groups.journal import Journal, is_claimed_by
from services.metadata.groups.stored import encode_group
from services.metadata.kv.port import KV, Put

_SWEEP_SECONDS = 1.0
"""How often groups are compared with the live replicas, and a store that was away is asked again."""
_CONFIRM_SECONDS_MAX = 5.0

log = structlog.get_logger(__name__)

_R = TypeVar("_R", JoinGroupReply, SyncGroupReply)


@dataclass(slots=True, eq=False)
class _Parked:
    answered: trio.Event = field(default_factory=trio.Event)
    reply: JoinGroupReply | SyncGroupReply | None = None
    error: KafscaleError | None = None


class Coordinator:
    """`run` keeps the time; requests may come from any task. They raise the kinds of libs/model/errors.py."""

    def __init__(
        self,
        *,
        kv: KV,
        journal: Journal,
        clock: Clock,
        new_hosting: Callable[[Callable[[Hosted], None]], Hosting],
    ) -> None:
        self._kv = kv
        self._clock = clock
        self._journal = journal
        self._parked: dict[Ticket, _Parked] = {}
        self._next_ticket = 1
        self._alarms: list[tuple[float, int, Hosted]] = []
        self._alarms_set = 0
        self._store_away_until = 0.0
        self._alarm_is_nearer = trio.Event()
        self.hosting = new_hosting(self._set_alarm)

    @property
    def parked(self) -> int:
        """Requests that wait for their group."""
        return len(self._parked)

    # Requests.

    async def join(self, request: JoinGroup) -> JoinGroupReply:
        """Returns when the rebalance is complete; MEMBER_ID_REQUIRED is told in the reply."""
        hosted = await self._find(request.group, create=not request.member_id, member_id=request.member_id)
        return await self._park(hosted, JoinGroupReply, partial(hosted.state.join, request))

    async def sync(self, request: SyncGroup) -> SyncGroupReply:
        """Returns when the leader's assignment is there and stored."""
        hosted = await self._find(request.group, member_id=request.member_id)
        return await self._park(hosted, SyncGroupReply, partial(hosted.state.sync, request))

    async def heartbeat(self, request: Heartbeat) -> None:
        hosted = await self._find(request.group, member_id=request.member_id)
        hosted.state.heartbeat(request, trio.current_time())

    async def leave(self, request: LeaveGroup) -> tuple[LeftMember, ...]:
        """One answer a member, in order."""
        hosted = await self.hosting.find(request.group, create=False)
        if hosted is None:
            return tuple(
                LeftMember(
                    member_id=each.member_id,
                    group_instance_id=each.group_instance_id,
                    error=errors.unknown_member(request.group, each.member_id),
                )
                for each in request.members
            )
        answers, effects = hosted.state.leave(request, trio.current_time())
        self._carry_out(hosted, effects)
        return answers

    def drop(self, hosted: Hosted, error: KafscaleError) -> None:
        """Stops serving a group; who is parked gets `error`."""
        self.hosting.forget(hosted)
        self._carry_out(hosted, hosted.state.close(error))

    def drop_all(self) -> None:
        """Another replica takes every group over."""
        self.hosting.close()
        for hosted in self.hosting:
            self.drop(hosted, errors.not_coordinator(hosted.group))

    # Parking.

    async def _find(self, group: GroupId, *, member_id: str, create: bool = False) -> Hosted:
        hosted = await self.hosting.find(group, create=create)
        if hosted is None:
            raise errors.unknown_member(group, member_id)
        return hosted

    async def _park(
        self, hosted: Hosted, kind: type[_R], request: Callable[[Ticket, float], list[Effect]]
    ) -> _R:
        ticket, parked = Ticket(self._next_ticket), _Parked()
        self._next_ticket += 1
        self._parked[ticket] = parked
        try:
            self._carry_out(hosted, request(ticket, trio.current_time()))
            await parked.answered.wait()
        finally:
            self._parked.pop(ticket, None)
        if parked.error is not None:
            raise parked.error
        assert isinstance(parked.reply, kind)
        return parked.reply

    def _carry_out(self, hosted: Hosted, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Persist):
                hosted.to_persist = effect
                continue
            parked = self._parked.get(effect.ticket)
            if parked is None:
                continue  # its caller went away
            if isinstance(effect, Reply):
                parked.reply = effect.reply
            else:
                parked.error = effect.error
            parked.answered.set()
        self._persist_next(hosted)
        self._set_alarm(hosted)

    # Storing.

    def _persist_next(self, hosted: Hosted) -> None:
        if hosted.persisting or hosted.to_persist is None or hosted.held.lost:
            return
        persist, hosted.to_persist = hosted.to_persist, None
        record = persist.record
        if not record.members:
            record = replace(record, empty_since_ms=self._clock.now_ms())
        value = encode_group(record, hosted.held.claim)
        if len(value) > VALUE_BYTES_MAX:
            limit = (
                f"its state of {len(value)} bytes does not fit into the {VALUE_BYTES_MAX} bytes of a value"
            )
            refused = errors.group_is_full(hosted.group, limit)
            log.warning("group_too_large", group=hosted.group, state_bytes=len(value))
            now = trio.current_time()
            self._carry_out(hosted, hosted.state.persist_failed(persist.version, refused, now))
            return
        hosted.persisting = True
        put = Put(key=hosted.held.key, value=value)
        self._journal.submit(hosted.held, [put], partial(self._persisted, hosted, persist.version))

    def _persisted(self, hosted: Hosted, version: int, error: KafscaleError | None) -> None:
        hosted.persisting = False
        if isinstance(error, Moved):
            log.info("group_claim_lost", group=hosted.group, claim=hosted.held.claim.number)
            self.drop(hosted, error)
            return
        now = trio.current_time()
        if error is None:
            effects = hosted.state.persisted(version, now)
        else:
            effects = hosted.state.persist_failed(version, error, now)
        self._carry_out(hosted, effects)

    # Time.

    async def run(self) -> None:
        """Keeps the time of all groups; ends only by cancellation."""
        while True:
            wakes_at = trio.current_time() + _SWEEP_SECONDS
            if self._alarms:
                wakes_at = min(wakes_at, self._alarms[0][0])
            with trio.move_on_at(wakes_at):
                await self._alarm_is_nearer.wait()
            self._alarm_is_nearer = trio.Event()
            self._drop_foreign()
            while self._alarms and self._alarms[0][0] <= trio.current_time():
                wakes_at, _, hosted = heapq.heappop(self._alarms)
                if hosted.held.lost or hosted.wakes_at != wakes_at:
                    continue  # a nearer alarm was set since
                hosted.wakes_at = None
                await self._look_at(hosted)

    def _drop_foreign(self) -> None:
        for hosted in self.hosting.take_foreign():
            self.drop(hosted, errors.not_coordinator(hosted.group))

    async def _look_at(self, hosted: Hosted) -> None:
        deadline = hosted.state.next_deadline()
        if deadline is not None and (deadline <= trio.current_time() or not hosted.judged):
            await self._judge(hosted)
        self._set_alarm(hosted)

    async def _judge(self, hosted: Hosted) -> None:
        """Lets time act on a group, once the store has confirmed that it is ours (rule 2)."""
        item = None
        if trio.current_time() < self._store_away_until:
            hosted.judged = False
            return
        try:
            with trio.fail_after(_CONFIRM_SECONDS_MAX):
                item = await self._kv.get(hosted.held.key)
        except (Unavailable, trio.TooSlowError):
            # One question a sweep is enough for all groups: each may take seconds to fail.
            self._store_away_until = trio.current_time() + _SWEEP_SECONDS / 2
            log.warning("group_time_stands_still", group=hosted.group)
            hosted.judged = False
            return
        if hosted.held.lost:
            return
        if item is None or not is_claimed_by(item, hosted.held.claim):
            log.info("group_claim_lost", group=hosted.group, claim=hosted.held.claim.number)
            self.drop(hosted, errors.not_coordinator(hosted.group))
            return
        now = trio.current_time()
        if hosted.judged:
            self._carry_out(hosted, hosted.state.tick(now))
        else:
            hosted.judged = True
            hosted.state.refresh_all(now)

    def _set_alarm(self, hosted: Hosted) -> None:
        """An alarm that is too early is harmless: it looks again. So only nearer deadlines need a new one."""
        deadline = hosted.state.next_deadline()
        if deadline is None or hosted.held.lost:
            return
        if not hosted.judged:
            deadline = max(deadline, trio.current_time() + _SWEEP_SECONDS)
        if hosted.wakes_at is not None and hosted.wakes_at <= deadline:
            return
        hosted.wakes_at = deadline
        self._alarms_set += 1
        heapq.heappush(self._alarms, (deadline, self._alarms_set, hosted))
        if self._alarms[0][2] is hosted:
            self._alarm_is_nearer.set()
