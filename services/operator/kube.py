"""The API server as the operator needs it: a port, its errors, its events.

Owns: the protocol. Does not own: HTTP (cluster.py); tests have a fake.
Rules: 1 errors are of the seven kinds: a conflict is Fenced(GUARD_FAILED), an unknown outcome Unavailable.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Literal, Protocol

from libs.model.errors import Fenced, Invalid, Reason
from services.operator.kinds import Key, Kind, Object

MANAGER = "kafscale-operator"
"""The field manager of every server-side apply."""
HANDOVER_MANAGER = "kafscale-operator-handover"
"""Holds a replica count between the operator and an HPA, so that it is never nobody's."""


class Forbidden(Invalid):
    """The service account lacks a permission; `permission` says which, as `verb resource.group`."""

    def __init__(self, message: str, *, permission: str) -> None:
        super().__init__(message)
        self.permission = permission


class Expired(Fenced):
    """410: the resource version is too old for a watch or a continued list; list again."""

    default_reason = Reason.GUARD_FAILED


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    items: tuple[Object, ...]
    resource_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchEvent:
    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]
    item: Object


class Kube(Protocol):
    """Raises NotFound, Fenced, Expired, Forbidden, Invalid, Overloaded, Unavailable."""

    async def list(self, kind: Kind, namespace: str | None, *, selector: str = "") -> Listed: ...

    def watch(
        self, kind: Kind, namespace: str | None, *, resource_version: str, selector: str = ""
    ) -> AbstractAsyncContextManager[AsyncIterator[WatchEvent]]:
        """Changes after the version, until the server ends the stream. Raises Expired (410)."""
        ...

    async def get(self, key: Key) -> Object: ...

    async def apply(self, item: Object, *, manager: str = MANAGER, subresource: str = "") -> Object:
        """Server-side apply with force; a resourceVersion in it guards the write."""
        ...

    async def create(self, item: Object) -> Object:
        """Raises Fenced where it exists already."""
        ...

    async def replace(self, item: Object) -> Object:
        """Guarded by the resourceVersion in it."""
        ...

    async def merge(self, key: Key, patch: Mapping[str, object]) -> Object:
        """A JSON merge patch (RFC 7386), guarded by a resourceVersion in it."""
        ...

    async def delete(self, key: Key, *, uid: str) -> None:
        """Only the object with this uid. Raises Fenced where another has the name now."""
        ...
