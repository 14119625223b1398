"""What every handler is given: the parts of one gateway.

Owns: nothing but the list.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from libs.clients.groups import GroupsClient
from libs.clients.metadata import MetadataClient
from libs.clients.view import ClusterView
from libs.clients.watcher import ClusterWatcher
from libs.concurrency.byte_budget import ByteBudget
from libs.concurrency.clock import Clock
from services.gateway.brokers import Brokers
from services.gateway.config import GatewayOptions
from services.gateway.lag import ConsumerLag
from services.gateway.producer_ids import ProducerIds
from services.gateway.recorder import Recorder
from services.gateway.routing.appends import AppendRouter
from services.gateway.routing.fetches import FetchRouter
from services.gateway.routing.owners import Owners
from services.gateway.topics import Topics
from services.gateway.unknown_topics import UnknownTopics

if TYPE_CHECKING:
    from services.gateway.handler import Versions


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    options: GatewayOptions
    watcher: ClusterWatcher
    metadata: MetadataClient
    groups: GroupsClient
    brokers: Brokers
    topics: Topics
    owners: Owners
    appends: AppendRouter
    fetches: FetchRouter
    fetched: ByteBudget
    producer_ids: ProducerIds
    served: "Mapping[int, Versions]"
    clock: Clock
    recorder: Recorder
    lag: ConsumerLag
    unknown_topics: UnknownTopics

    @property
    def view(self) -> ClusterView:
        return self.watcher.view
