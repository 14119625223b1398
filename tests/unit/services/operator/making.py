"""Resources for tests of the operator: made as kubectl would, and random ones.

Owns: specs. Does not own: what becomes of them.
"""

from typing import Any

from hypothesis import strategies as st

from services.operator.kinds import API_VERSION, CLUSTERS, TOPICS, Object
from services.operator.render.common import Context
from services.operator.spec import Cluster, ClusterSpec

NAMESPACE = "default"
IMAGE = "kafscale:test"
LEAST: dict[str, Any] = {"s3": {"bucket": "records"}, "etcd": {"endpoints": ["http://etcd:2379"]}}


def cluster(spec: dict[str, Any] | None = None, *, name: str = "kafka", uid: str = "cluster-uid") -> Cluster:
    return Cluster(
        namespace=NAMESPACE,
        name=name,
        uid=uid,
        generation=1,
        spec=ClusterSpec.model_validate({**LEAST, **(spec or {})}),
    )


def context(spec: dict[str, Any] | None = None) -> Context:
    return Context(cluster=cluster(spec), default_image=IMAGE)


def cluster_object(spec: dict[str, Any] | None = None, *, name: str = "kafka") -> Object:
    return {
        "apiVersion": API_VERSION,
        "kind": CLUSTERS.kind,
        "metadata": {"name": name, "namespace": NAMESPACE, "uid": "cluster-uid"},
        "spec": {**LEAST, **(spec or {})},
    }


def topic_object(name: str, *, cluster: str = "kafka", **spec: Any) -> Object:
    return {
        "apiVersion": API_VERSION,
        "kind": TOPICS.kind,
        "metadata": {"name": name, "namespace": NAMESPACE, "uid": f"uid-of-{name}"},
        "spec": {"clusterRef": cluster, "partitions": 1, **spec},
    }


def _optional(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


_AUTOSCALING = {
    "minReplicas": st.integers(1, 3),
    "maxReplicas": st.integers(3, 9),
    "cpuPercent": st.integers(0, 90),
    "memoryPercent": st.integers(1, 90),
    "scaleDownStabilizationSeconds": st.integers(0, 3600),
}
_QUANTITY = st.sampled_from(["500m", "1", "1000m", "2Gi", "2048Mi", "0.5"])
_TOLERATION = st.just({"key": "dedicated", "operator": "Exists", "effect": "NoSchedule"})


def _component(**own: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return _optional(
        replicas=st.integers(1, 5),
        autoscaling=st.fixed_dictionaries(_AUTOSCALING, optional=own),
        image=st.sampled_from(["", "kafscale:other"]),
        resources=_optional(requests=_optional(cpu=_QUANTITY, memory=_QUANTITY)),
        zones=st.lists(st.sampled_from(["a", "b"]), unique=True),
        nodeSelector=st.dictionaries(st.just("disk"), st.just("fast")),
        affinity=st.sampled_from([{}, {"nodeAffinity": {}}]),
        tolerations=st.lists(_TOLERATION, max_size=1),
        priorityClassName=st.sampled_from(["", "high"]),
    )


_TARGET = st.integers(1, 10**9)
SPECS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "s3": st.fixed_dictionaries(
            {"bucket": st.just("records")},
            optional={
                "region": st.just("eu-west-1"),
                "endpoint": st.just("http://minio:9000"),
                "prefix": st.just("one"),
                "kmsKey": st.just("alias/records"),
                "readBucket": st.just("records-copy"),
                "credentialsSecretName": st.just("keys"),
                "serviceAccountAnnotations": st.just({"eks.amazonaws.com/role-arn": "arn"}),
            },
        ),
        "etcd": st.one_of(
            st.just({"managed": {}}),
            st.just({"managed": {"storageClassName": "fast", "resources": {"limits": {"memory": "1Gi"}}}}),
            st.just({"endpoints": ["http://etcd:2379"], "authSecretName": "etcd-auth"}),
            st.just({"endpoints": ["https://etcd:2379"], "tls": {"secretName": "etcd-tls"}}),
            st.just(
                {
                    "endpoints": ["https://etcd:2379"],
                    "tls": {"secretName": "etcd-tls", "clientCertificate": False},
                }
            ),
        ),
    },
    optional={
        "image": st.just("kafscale:spec"),
        "imagePullSecrets": st.just(["pull"]),
        "gateway": _component(producedBytesPerSecond=_TARGET, inFlightBytes=_TARGET, connections=_TARGET),
        "owner": _component(producedBytesPerSecond=_TARGET, bufferBytes=_TARGET),
        "metadata": _component(watchers=_TARGET),
        "listeners": st.one_of(
            st.just({"advertisedMode": "instance"}),
            st.just({"tlsSecret": "kafka-tls"}),
            st.just({"advertisedMode": "instance", "external": {"host": "k{index}.example.com"}}),
            st.just({"external": {"host": "kafka.example.com", "annotations": {"a": "b"}}}),
            st.just({"external": {"host": "kafka.example.com", "type": "NodePort", "port": 30092}}),
        ),
        "config": _optional(
            autoCreateTopics=st.booleans(),
            defaultRetention=_optional(
                ms=st.sampled_from([-1, 1, 2**63 - 1]), bytes=st.sampled_from([-1, 1, 10**12])
            ),
            flushLingerMs=st.sampled_from([0, 1, 2.5]),
            flushPutsPerSecond=st.sampled_from([0, 20]),
            drainSeconds=st.integers(1, 600),
            leaseSeconds=st.sampled_from([2, 6.5]),
        ),
        "metrics": st.just({"serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}}}),
        "networkPolicy": st.fixed_dictionaries({"enabled": st.booleans()}),
    },
)
