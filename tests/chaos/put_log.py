"""Which chain PUTs an owner has in flight, by its own log.

Owns: reading the log's debug lines as they come. Does not own: the owner.
Rule: a line is written just before the PUT is handed to the store and once it succeeded, so a PUT without an
end was in flight when the last line was written.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple


class PutKey(NamedTuple):
    session: str
    seq: int


@dataclass(slots=True)
class Put:
    key: PutKey
    begun_at: datetime
    ended_at: datetime | None = None


class PutLog:
    """Feeds on an owner's log file; `open` are the PUTs that were begun and not ended."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_bytes = 0
        self.puts: dict[PutKey, Put] = {}

    def refresh(self) -> "PutLog":
        """Reads what was written since the last call, whole lines only."""
        with self._path.open("rb") as file:
            file.seek(self._read_bytes)
            chunk = file.read()
        whole = chunk.rfind(b"\n") + 1
        self._read_bytes += whole
        for line in chunk[:whole].splitlines():
            if b'"chain_put_' in line:
                self._feed(json.loads(line))
        return self

    def in_flight(self, session: str | None = None) -> list[Put]:
        """PUTs without an end; of one session, if told."""
        return [
            put for put in self.puts.values() if put.ended_at is None and session in {None, put.key.session}
        ]

    def last_session(self) -> str | None:
        return next((put.key.session for put in reversed(self.puts.values())), None)

    def _feed(self, line: dict[str, str | int]) -> None:
        if line["event"] not in {"chain_put_begun", "chain_put_ended"}:
            return
        key = PutKey(str(line["session"]), int(line["seq"]))
        at = datetime.fromisoformat(str(line["timestamp"]))
        if line["event"] == "chain_put_begun":
            self.puts[key] = Put(key, at)
        else:
            self.puts[key].ended_at = at
