"""Everything that happened, as one number.

Owns: the running hash. Rules: 1 what is noted is made of values that the seed decides, never of addresses or
real time; 2 two runs of a seed agree on the digest, or one of them is not of this code.
"""

from collections import deque
from hashlib import blake2b


class Trace:
    """`note` what happens, in order. Keeps the last lines for whoever looks for the first difference."""

    def __init__(self, *, lines_kept: int = 0) -> None:
        self._hash = blake2b(digest_size=16)
        self.count = 0
        self.lines: deque[str] = deque(maxlen=lines_kept)
        self._keeps = lines_kept > 0

    def note(self, at: float, what: str) -> None:
        line = f"{at:.6f} {what}\n"
        self._hash.update(line.encode())
        self.count += 1
        if self._keeps:
            self.lines.append(line)

    def digest(self) -> str:
        """32 hexadecimal digits."""
        return self._hash.hexdigest()
