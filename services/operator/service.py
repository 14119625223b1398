"""The operator at work: mirrors feed a queue, workers look at what changed, one replica leads.

Owns: the nesting, which resource a change concerns. Does not own: a look (clusters.py, topic_control.py).
"""

import structlog
import trio

from libs.concurrency.clock import Clock
from libs.concurrency.rand import Rand
from libs.model.errors import KafscaleError
from services.operator.clusters import Clusters
from services.operator.config import OperatorSettings
from services.operator.drain_rpc import Drainer
from services.operator.kinds import CLUSTERS, TOPICS, Key, Object, key_of, labels_of
from services.operator.kube import Kube
from services.operator.leader import Election
from services.operator.links import OpenTopics, open_links
from services.operator.metrics import OperatorStatistics
from services.operator.mirrors import Mirrors
from services.operator.render.common import INSTANCE_LABEL
from services.operator.reporting import Reporter
from services.operator.topic_control import TopicControl
from services.operator.work_queue import WorkQueue

log = structlog.get_logger(__name__)


class Operator:
    def __init__(
        self,
        *,
        kube: Kube,
        election: Election,
        drainer: Drainer,
        open_topics: OpenTopics,
        settings: OperatorSettings,
        clock: Clock,
        rand: Rand,
    ) -> None:
        self._kube = kube
        self._election = election
        self._drainer = drainer
        self._open_topics = open_topics
        self._settings = settings
        self._rand = rand
        self._reporter = Reporter(kube, clock)
        self._queue: WorkQueue[Key] = WorkQueue(rand)
        self._mirrors = self._new_mirrors()
        self._clusters = self._new_clusters()
        self._looks = 0

    def _new_mirrors(self) -> Mirrors:
        return Mirrors(
            self._kube,
            namespaces=self._settings.operator_watch_namespaces,
            rand=self._rand,
            on_change=self._changed,
        )

    def _new_clusters(self) -> Clusters:
        return Clusters(
            kube=self._kube,
            mirrors=self._mirrors,
            drainer=self._drainer,
            reporter=self._reporter,
            default_image=self._settings.operator_image,
        )

    async def wait_ready(self) -> None:
        """Waits for the API server's first answer: who leads is not part of being ready."""
        await self._election.wait_answered()

    def statistics(self) -> OperatorStatistics:
        queue = self._queue.statistics()
        return OperatorStatistics(
            leading=self._election.leading,
            waiting=queue["waiting"],
            failing=queue["failing"],
            looks=self._looks,
            drains_done=self._clusters.drains_total["done"],
            drains_failed=self._clusters.drains_total["failed"],
            restarts=self._clusters.restarts_total,
            relists=self._mirrors.relists(),
            refused=self._mirrors.refused(),
        )

    async def run(self) -> None:
        """Waits to be elected and works, for ever."""
        await self._election.run(self._lead)

    async def _lead(self) -> None:
        # Nothing of an earlier term is believed.
        self._queue = WorkQueue(self._rand)
        self._mirrors = self._new_mirrors()
        self._clusters = self._new_clusters()
        async with open_links(self._open_topics, self._topics_changed) as links:
            topics = TopicControl(
                kube=self._kube, mirrors=self._mirrors, links=links, reporter=self._reporter
            )
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._mirrors.run)
                await self._mirrors.wait_listed()
                nursery.start_soon(self._resync)

                async def work(key: Key) -> bool:
                    if key.kind == CLUSTERS.kind and self._mirrors.get(key) is None:
                        links.forget(key)
                    return await self._work(topics if key.kind == TOPICS.kind else self._clusters, key)

                await self._queue.run(work, workers=self._settings.operator_workers)

    async def _work(self, control: Clusters | TopicControl, key: Key) -> bool:
        self._looks += 1
        try:
            again = await control.work(key)
        except KafscaleError as error:
            log.warning("look_failed", resource=str(key), error=error.message)
            return False
        except Exception:  # a supervisor: one resource's bug is no other's outage
            log.exception("look_crashed", resource=str(key))
            return False
        if again is not None:
            self._queue.add_after(key, again)
        return True

    async def _resync(self) -> None:
        while True:
            await trio.sleep(self._settings.operator_resync_seconds)
            for kind in (CLUSTERS, TOPICS):
                for item in self._mirrors.items(kind):
                    self._queue.add(key_of(item))

    def _changed(self, item: Object) -> None:
        """A cluster's own object or one of its parts; a topic also concerns those that name the same."""
        key = key_of(item)
        if key.kind == TOPICS.kind:
            self._queue.add(key)
            self._add_topics(key.namespace, (item.get("spec") or {}).get("clusterRef"))
        elif key.kind == CLUSTERS.kind:
            self._queue.add(key)
            self._add_topics(key.namespace, key.name)
        elif name := labels_of(item).get(INSTANCE_LABEL):
            self._queue.add(Key(CLUSTERS.kind, key.namespace, name))

    def _topics_changed(self, cluster: Key) -> None:
        self._add_topics(cluster.namespace, cluster.name)

    def _add_topics(self, namespace: str, cluster: str | None) -> None:
        for item in self._mirrors.items(TOPICS, namespace):
            if (item.get("spec") or {}).get("clusterRef") == cluster:
                self._queue.add(key_of(item))
