"""The most recent chain objects, in memory: what consumers at the end of the log read.

Owns: whole objects by (session, seq), within a bound of bytes. Does not own: who may see what (`durable`).
Rules: 1 the oldest written goes first: it is a window over the end of the chain, not a cache of what is
popular; 2 an object is put in when it is assembled, so that it can be read the moment it is durable.
"""

from collections import OrderedDict

from libs.model.ids import SessionId


class TailCache:
    """Holds up to `bytes_max`; readers get views, nothing is copied."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.used_bytes = 0
        self.hits = 0
        self.misses = 0
        self.put_bytes = 0
        """Bytes ever put in: what was put `bytes_max` ago is gone."""
        self._objects: OrderedDict[tuple[SessionId, int], bytes] = OrderedDict()

    def __len__(self) -> int:
        return len(self._objects)

    def put(self, session: SessionId, seq: int, body: bytes) -> None:
        self._objects[(session, seq)] = body
        self.used_bytes += len(body)
        self.put_bytes += len(body)
        while self.used_bytes > self.bytes_max:
            _, evicted = self._objects.popitem(last=False)
            self.used_bytes -= len(evicted)

    def get(self, session: SessionId, seq: int, *, position: int, size_bytes: int) -> memoryview | None:
        """A view of part of an object; None where it isn't here (any more)."""
        body = self._objects.get((session, seq))
        if body is None:
            self.misses += 1
            return None
        self.hits += 1
        return memoryview(body)[position : position + size_bytes]
