"""How long owners that are gone may come back before their partitions move. Pure.

Theory. An owner's registration ends for one of two reasons: the owner is gone, or nobody could renew its
lease. Moving partitions is safe in both cases (promise 5), but in the second it moves everything for
nothing, and to whoever happens to be back first. Leases can't be renewed while every metadata replica, or
etcd, is away:

1 A replica that is elected right after it started can't know whether owners could renew: it waits until its
  own lease has been held for one lease's time. Within that time every living owner has renewed or registered
  again.
2 A replica that is elected because another one died has held its own lease all the while: owners could renew
  over it, so who is gone is gone, and nothing is waited for. A dead owner's partitions move when its lease
  ends, also where a controller dies with it: both leases end at about the same time, and electing takes
  moments.
3 Where many leases end at once while this replica watches (it was cut off together with the owners, or etcd
  ended leases on its return), it waits one lease from the last one lost. Many: two or more, and more than
  remain.
4 Nothing is waited for where the store can only be open in one process, owners included: a predecessor that
  has another life there is dead.
"""

from collections.abc import Collection

from libs.model.ids import OwnerId


class Grace:
    """Told of who is there; tells until when nothing of a gone owner moves. Times in seconds of one clock."""

    def __init__(self, *, lease_seconds: float, exclusive_store: bool) -> None:
        self._lease_seconds = lease_seconds
        self._exclusive_store = exclusive_store
        self._present: set[OwnerId] = set()
        self._lost_at: dict[OwnerId, float] = {}
        self.until = float("-inf")

    def begin(self, *, lease_held_since: float, present: Collection[OwnerId]) -> None:
        """This replica was elected."""
        self._present = set(present)
        self._lost_at.clear()
        self._extend(lease_held_since + self._lease_seconds)

    def observe(self, now: float, present: Collection[OwnerId], *, leaving: Collection[OwnerId]) -> None:
        """Who is registered now; `leaving` are those who may go without being missed (drained, sealed)."""
        there = set(present)
        lost = self._present - there - set(leaving)
        self._present = there
        for owner_id in there:
            self._lost_at.pop(owner_id, None)
        self._lost_at = {
            owner_id: at for owner_id, at in self._lost_at.items() if at > now - self._lease_seconds
        }
        self._lost_at.update(dict.fromkeys(lost, now))
        if lost and len(self._lost_at) > max(1, len(there)):
            self._extend(now + self._lease_seconds)

    def lasts(self, now: float) -> bool:
        return now < self.until

    def _extend(self, until: float) -> None:
        if not self._exclusive_store:
            self.until = max(self.until, until)
