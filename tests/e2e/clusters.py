"""A KafscaleCluster under test and its clients' load.

Owns: its spec, questions to its pods, the judgement of the load. Does not own: the world, the load itself.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import psutil

from tests.chaos.load import PARTITIONS, Load, Truth, running_load
from tests.e2e.api import MERGE, Object
from tests.e2e.control_plane import wait_until
from tests.e2e.world import ETCD_ENDPOINT, S3_ENDPOINT, S3_SECRET, World
from tests.support.clients import create_topic
from tests.support.control import call, metric_value
from tests.support.ledger import Violation, compare_reads

READ_SECONDS_MAX = 120.0
MOVE_SECONDS_MAX = 60.0

OWNER = "partition-owner"
SMALL: Object = {"requests": {"cpu": "100m", "memory": "128Mi"}}
"""What pods ask for: there is one small machine under all of them."""


def cluster_spec(bucket: str, **spec: Any) -> Object:
    """On the world's stores; `spec` fields win."""
    return {
        "s3": {"bucket": bucket, "endpoint": S3_ENDPOINT, "credentialsSecretName": S3_SECRET},
        "etcd": {"endpoints": [ETCD_ENDPOINT]},
        "gateway": {"replicas": 2, "resources": SMALL},
        "owner": {"replicas": 3, "resources": SMALL},
        "metadata": {"replicas": 2, "resources": SMALL},
        **spec,
    }


@dataclass(slots=True)
class Cluster:
    world: World
    namespace: str
    name: str
    outside: str = ""
    """Where clients connect, host:port, if not at the Service by its name inside."""

    @property
    def path(self) -> str:
        return f"/apis/kafscale.io/v1alpha1/namespaces/{self.namespace}/kafscaleclusters/{self.name}"

    @property
    def bootstrap(self) -> str:
        return self.outside or f"{self.name}-broker.{self.namespace}.svc:9092"

    def create(self, spec: Object) -> None:
        kind = {"apiVersion": "kafscale.io/v1alpha1", "kind": "KafscaleCluster"}
        self.world.apply(self.path, {**kind, "metadata": {"name": self.name}, "spec": spec})

    def change(self, **spec: Any) -> None:
        self.world.call("PATCH", self.path, {"spec": spec}, content_type=MERGE)

    def wait_ready(self, seconds_max: float = 240.0) -> None:
        try:
            self.world.wait_condition(self.path, "Ready", seconds_max=seconds_max)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.world.logs(self.namespace)}") from error

    def why_not_ready(self) -> str:
        found = self.world.call("GET", self.path).get("status", {}).get("conditions") or ()
        return next((str(each["message"]) for each in found if each["type"] == "Ready"), "")

    def wait_told(self, text: str, *, seconds_max: float) -> None:
        """Until this is in why it is not ready."""
        try:
            wait_until(lambda: text in self.why_not_ready(), f"{text} is told", seconds_max=seconds_max)
        except AssertionError as error:
            raise AssertionError(f"{error}; it was {self.why_not_ready()!r}") from error

    def wait_settled(self, seconds_max: float) -> None:
        """Ready, and nothing left to do."""
        self.world.wait_condition(self.path, "Progressing", "False", seconds_max=seconds_max)
        self.wait_ready()

    def pods(self, component: str) -> list[Object]:
        return self.world.pods(self.namespace, component, self.name)

    def uids(self, component: str) -> dict[str, str]:
        return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in self.pods(component)}

    def all_new(self, component: str, before: dict[str, str]) -> bool:
        """Whether each pod of `before` (`uids`) has been replaced by one of its name."""
        now = self.uids(component)
        return now.keys() == before.keys() and not set(now.values()) & set(before.values())

    def partitions_of(self, pod: Object) -> int:
        """That the owner in this pod has, by its own metrics."""
        return int(metric_of(pod, "kafscale_partitions"))

    def drain(self, pod: Object) -> Any:
        return call(f"{pod['status']['podIP']}:9093", "DrainPartitions", {"all_assigned": True})

    @contextmanager
    def stopped(self, pod: str) -> Iterator[None]:
        """SIGSTOP for the process in a pod, until the block ends."""
        (process,) = [each for each in psutil.process_iter() if _runs_in(each, pod)]
        process.suspend()
        try:
            yield
        finally:
            process.resume()

    def wait_spread(self, owners: int, *, seconds_max: float = MOVE_SECONDS_MAX) -> None:
        """Until each of so many owners has partitions."""

        def spread() -> bool:
            pods = self.pods(OWNER)
            return len(pods) == owners and all(_ready(pod) and self.partitions_of(pod) for pod in pods)

        wait_until(spread, f"each of {owners} owners has partitions", seconds_max=seconds_max)

    @contextmanager
    def load(self, topic: str) -> Iterator[tuple[Load, Truth]]:
        """Producers and a group on a topic of its own; in the end nothing is lost and no error was told."""
        create_topic(self.bootstrap, topic, PARTITIONS)
        truth = Truth(self.bootstrap, topic)
        with running_load(self.bootstrap, topic, group=f"{topic}-group") as load:
            load.wait_all_acknowledged_after(time.monotonic(), seconds_max=60)
            yield load, truth
            load.wait_all_acknowledged_after(time.monotonic(), seconds_max=60)
        assert not load.errors, load.errors[:5]
        assert not (found := verdict(load, truth)), found[:5]


@contextmanager
def open_cluster(
    world: World, namespace: str, name: str, spec: Object, *, ready: bool = True
) -> Iterator[Cluster]:
    """In a namespace of its own with a bucket of that name; nothing of it runs when the block ends.

    `ready`: whether it has to be before the block begins.
    """
    world.make_namespace(namespace, namespace)
    cluster = Cluster(world, namespace, name)
    cluster.create(spec)
    try:
        if ready:
            cluster.wait_ready()
        yield cluster
    finally:
        world.call("DELETE", cluster.path)
        pods = f"/api/v1/namespaces/{namespace}/pods"
        wait_until(lambda: not world.listed(pods), f"no pod of {name} is left", seconds_max=READ_SECONDS_MAX)


def metrics_of(pod: Object) -> str:
    """Of a pod of ours, as Prometheus' text."""
    return httpx.get(f"http://{pod['status']['podIP']}:9093/metrics", trust_env=False, timeout=30).text


def metric_of(pod: Object, name: str) -> float:
    """What a pod of ours tells, over all labels."""
    return metric_value(metrics_of(pod), name)


def verdict(load: Load, truth: Truth) -> list[Violation]:
    """What was acknowledged, held against all that can be read."""
    truth.read_on(load.ledger.ends(), seconds_max=READ_SECONDS_MAX)
    return [*load.ledger.judge(truth.found), *compare_reads(truth.found, list(load.group_reads))]


def slowest(load: Load, since: float) -> float:
    """The longest time in which a partition had no acknowledgement, in seconds."""
    return max(pause.seconds for pause in load.times.pauses(since))


def _runs_in(process: psutil.Process, pod: str) -> bool:
    try:
        return process.environ().get("POD_NAME") == pod
    except psutil.Error:
        return False


def _ready(pod: Object) -> bool:
    conditions = pod.get("status", {}).get("conditions") or ()
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
