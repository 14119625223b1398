"""What a group's state machine wants done: answers to parked requests, and records to store. Pure.

Owns: the kinds of effect and their collection while a request is worked on. Does not own: carrying them out.
"""

from dataclasses import dataclass
from typing import NewType

from libs.clients.group_types import GroupRecord, JoinGroupReply, SyncGroupReply
from libs.model.errors import KafscaleError

Ticket = NewType("Ticket", int)
"""Names a parked request; whoever parked it knows the caller."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """Answer the parked request."""

    ticket: Ticket
    reply: JoinGroupReply | SyncGroupReply


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse:
    """Answer the parked request with an error."""

    ticket: Ticket
    error: KafscaleError


@dataclass(frozen=True, slots=True, kw_only=True)
class Persist:
    """Store the group, then call `persisted(version)`. A later version makes an earlier one needless."""

    version: int
    record: GroupRecord


Effect = Reply | Refuse | Persist


class Outbox:
    """Effects in the order in which they came about, until they are taken."""

    def __init__(self) -> None:
        self._effects: list[Effect] = []
        self._version = 0
        self._held: dict[int, Reply] = {}

    def reply(self, ticket: Ticket, reply: JoinGroupReply | SyncGroupReply) -> None:
        self._effects.append(Reply(ticket=ticket, reply=reply))

    def refuse(self, ticket: Ticket | None, error: KafscaleError) -> None:
        """Nothing where nobody is parked."""
        if ticket is not None:
            self._effects.append(Refuse(ticket=ticket, error=error))

    def persist(self, record: GroupRecord) -> int:
        """The version that `persisted` will name."""
        self._version += 1
        self._effects.append(Persist(version=self._version, record=record))
        return self._version

    def reply_once_persisted(self, version: int, ticket: Ticket, reply: JoinGroupReply) -> None:
        self._held[version] = Reply(ticket=ticket, reply=reply)

    def release(self, version: int) -> None:
        """The record of this version is stored: replies that waited for it go out."""
        for waiting in [each for each in self._held if each <= version]:
            self._effects.append(self._held.pop(waiting))

    def refuse_held(self, version: int | None, error: KafscaleError) -> None:
        """The record of this version, or any (None), is not going to be stored."""
        for waiting in [each for each in self._held if version is None or each <= version]:
            self.refuse(self._held.pop(waiting).ticket, error)

    def take(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects
