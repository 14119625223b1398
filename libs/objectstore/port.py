"""What the platform asks of an object store.

Owns: the operations, what each promises, and which error each raises. Does not own: how objects are named
(`libs/segments` keys) and what they hold.
Rules: 1 `put_if_absent` is decided by the store, once and for ever: of all who ever try a key, one is told
CREATED (design section 3, rule 1); 2 a success is durable before it is reported, EXISTS included; 3 whoever
sees `Unavailable.outcome_unknown` has to assume that the write landed, or will land later.

Errors are the kinds of `libs/model/errors.py`:

- NotFound(NO_SUCH_OBJECT): there is no object of that key.
- Unavailable: the store failed. `outcome_unknown` is False when the store's own answer says that nothing was
  written (S3: 503 SlowDown, 409 ConditionalRequestConflict, a refused connection): the same PUT may simply be
  sent again. It is True when there was no such answer (time-out, connection lost, an internal error): these
  are the "failures without a status" after which a writer reads before its next PUT. It is a hint about what
  to try, never a proof: an EXISTS that follows is always resolved by reading.
- Invalid: the request or the settings are wrong and stay wrong: no such bucket, access denied, a bad key.
- `libs.model.errors.Fatal`, which is no Exception: the disk failed to sync; the process has to end.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview
Body: TypeAlias = Buffer | Sequence[Buffer]
"""An object's bytes, whole or in pieces that follow each other; not changed until the call returns."""

LIST_LIMIT_MAX = 1000  # S3's ListObjectsV2


class PutResult(StrEnum):
    """What became of a conditional put."""

    CREATED = "created"
    EXISTS = "exists"


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectInfo:
    """An object without its bytes. `modified_ms` is the store's wall clock; S3 rounds it to seconds."""

    key: str
    size_bytes: int
    modified_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ListPage:
    """Objects in key order; `truncated` when there are more after the last of them."""

    objects: tuple[ObjectInfo, ...]
    truncated: bool


class ObjectReader(Protocol):
    """What is asked for bytes that are known to be stored: its NotFound is no proof of anything."""

    async def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        """As `ObjectStore.get`."""
        ...


class ObjectStore(Protocol):
    """A flat map from keys to immutable bytes. Keys: see `keyrules.check_key`."""

    async def put_if_absent(self, key: str, body: Body) -> PutResult:
        """Creates the object unless the key is taken (If-None-Match: *).

        EXISTS says nothing about whose object it is: it may be the caller's own, from an attempt whose reply
        was lost. Once begun, it goes on when the caller is cancelled.
        """
        ...

    async def put(self, key: str, body: Body) -> None:
        """Writes the object, replacing what was there."""
        ...

    async def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        """Bytes [start, start + length) of the object, or to its end; fewer, even none, beyond its end.

        Raises NotFound; Invalid when start < 0 or length < 1.
        """
        ...

    async def get_suffix(self, key: str, length: int) -> tuple[bytes, int]:
        """The last `length` bytes (all, if the object is shorter) and the whole size. Raises like `get`."""
        ...

    async def head(self, key: str) -> ObjectInfo:
        """Size and time of the object. Raises NotFound."""
        ...

    async def list(self, prefix: str, *, start_after: str = "", limit: int = LIST_LIMIT_MAX) -> ListPage:
        """Up to `limit` (1 to 1000) objects whose key begins with `prefix`, strictly after `start_after`.

        In the order of the keys' UTF-8 bytes. An object that was there when the call began, and is not
        deleted meanwhile, is listed.
        """
        ...

    async def delete(self, keys: Sequence[str]) -> None:
        """Deletes the objects; those that are not there are fine. After an error any part may be gone."""
        ...
