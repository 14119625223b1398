"""How much of this machine's processors is ours: a bound in seconds means seconds of a machine that is ours.

Owns: the share that other programs take while something is measured. Does not own: what is measured.
On a quiet machine `stretch` is 1, and a bound is what it says. Where other programs take three quarters of
the processors, all of ours may take four times as long, which says nothing about our code.
"""

import psutil

_STRETCH_MAX = 8.0


class ForeignLoad:
    """Begins to look when it is made."""

    def __init__(self) -> None:
        self._own = psutil.Process()
        self._total, self._idle, self._ours = self._now()

    def stretch(self) -> float:
        """By how much longer our work took since the beginning: 1 and up."""
        total, idle, ours = (
            now - then for now, then in zip(self._now(), (self._total, self._idle, self._ours), strict=True)
        )
        if total <= 0:
            return 1.0
        foreign = max(0.0, total - idle - ours)
        return min(_STRETCH_MAX, total / max(total - foreign, total / _STRETCH_MAX))

    def _now(self) -> tuple[float, float, float]:
        """Seconds of all processors together: all, idle, and of this process and all it started."""
        machine = psutil.cpu_times()
        own = self._own.cpu_times()
        ours = own.user + own.system + own.children_user + own.children_system
        for child in self._own.children(recursive=True):
            try:
                times = child.cpu_times()
            except psutil.NoSuchProcess:
                continue  # it has ended meanwhile; most of it counts as ours once it is waited for
            ours += times.user + times.system
        # Guests' time is in user's already (proc(5)).
        total = sum(machine) - getattr(machine, "guest", 0.0) - getattr(machine, "guest_nice", 0.0)
        return total, machine.idle + getattr(machine, "iowait", 0.0), ours
