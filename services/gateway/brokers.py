"""Which brokers clients are told about, and which of them leads a partition.

Owns: both advertising modes (design section 6), spreading leaders and groups. Does not own: registration.
Rules: 1 any gateway serves any partition, so a leader is only a way to spread load, within the zone of the
gateway that was asked; 2 a gateway always names itself, whatever the view says: it is certainly alive; 3 a
gateway that comes or goes moves only the partitions and groups that are its own (rendezvous hashing); 4 every
gateway names the same one for a group.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Final, Literal

from libs.clients.view import ClusterView
from libs.model.cluster import Gateway
from libs.model.ids import BrokerId, TopicId

SERVICE_BROKER_ID: Final = BrokerId(0)
"""The one broker of mode `service`, the same from every gateway."""

_CACHED_TOPICS_MAX: Final = 10_000


class Brokers:
    """`register` gives the own broker id; until then there is nothing to tell clients."""

    def __init__(self, *, view: ClusterView, mode: Literal["instance", "service"], zone: str) -> None:
        self._view = view
        self._mode = mode
        self._zone = zone
        self._own: Gateway | None = None
        self._ranked: dict[TopicId, tuple[BrokerId, ...]] = {}
        self._ranked_for: tuple[BrokerId, ...] = ()

    def register(self, own: Gateway) -> None:
        """What clients are told about this gateway, with the broker id that it was given."""
        if self._mode == "service":
            own = Gateway(
                gateway_id=own.gateway_id, broker_id=SERVICE_BROKER_ID, host=own.host, port=own.port, zone=""
            )
        self._own = own

    @property
    def own(self) -> Gateway:
        """This gateway: the controller, as clients see it."""
        assert self._own is not None, "clients are served after registration"
        return self._own

    def all(self) -> Sequence[Gateway]:
        """Every broker that clients are told about, by broker id."""
        own = self.own
        if self._mode == "service":
            return (own,)
        brokers = {each.broker_id: each for each in self._view.gateways.values()}
        brokers[own.broker_id] = own
        return tuple(brokers[broker_id] for broker_id in sorted(brokers))

    def coordinator(self, group: str) -> Gateway:
        """Where clients send the requests of a group."""
        return max(self.all(), key=lambda each: _weight(group.encode(), each.broker_id))

    def leaders(self, topic_id: TopicId, partitions: int) -> tuple[BrokerId, ...]:
        """The leader of each partition."""
        near = tuple(each.broker_id for each in self.all() if each.zone == self._zone)
        near = near or (self.own.broker_id,)
        if len(near) == 1:
            return near * partitions
        if near != self._ranked_for or len(self._ranked) > _CACHED_TOPICS_MAX:
            self._ranked, self._ranked_for = {}, near
        known = self._ranked.get(topic_id)
        if known is None or len(known) < partitions:
            known = tuple(_choose(topic_id, index, near) for index in range(partitions))
            self._ranked[topic_id] = known
        return known[:partitions]


def _choose(topic_id: TopicId, partition: int, brokers: Sequence[BrokerId]) -> BrokerId:
    key = topic_id.bytes + partition.to_bytes(4, "big")
    return max(brokers, key=lambda broker: _weight(key, broker))


def _weight(key: bytes, broker: BrokerId) -> bytes:
    return blake2b(key, digest_size=8, key=broker.to_bytes(4, "big")).digest()
