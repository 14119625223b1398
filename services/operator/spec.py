"""What a KafscaleCluster asks for, typed.

Owns: the fields of charts/kafscale/crds/kafscaleclusters.yaml, their defaults, what fits together. Does not
own: objects made of it (render/), KafscaleTopic (topic_spec.py).
Rules: 1 a field that nothing would obey is not here: it would be accepted and ignored; 2 the API server
checks the same by the CRD; this is for whoever still has an older one.
"""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from libs.segments.layout import SEGMENT_BYTES_DEFAULT

Strings = dict[str, str]


class Model(BaseModel):
    """camelCase outside, frozen. A field that is not known here is a newer CRD's, and no error."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True)


def _requests(cpu: str, memory: str) -> Any:
    """What a container requests where nothing is said: without it an HPA can't compute its percentages."""
    return Field(default_factory=lambda: {"requests": {"cpu": cpu, "memory": memory}})


class Autoscaling(Model):
    """Percentages are of what is requested; 0: not looked at. A service adds metrics of its own.

    The CRD refuses one without any target; the API server takes CPU for one that was stored before it did.
    """

    min_replicas: int = Field(default=2, ge=1, le=1000)
    max_replicas: int = Field(ge=1, le=1000)
    cpu_percent: int = Field(default=70, ge=0)
    memory_percent: int = Field(default=80, ge=0)
    scale_down_stabilization_seconds: int = Field(default=300, ge=0, le=3600)

    @model_validator(mode="after")
    def _min_below_max(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError("minReplicas must not be above maxReplicas")
        return self


class GatewayAutoscaling(Autoscaling):
    produced_bytes_per_second: int | None = Field(default=None, ge=1)
    in_flight_bytes: int | None = Field(default=None, ge=1)
    connections: int | None = Field(default=None, ge=1)


class OwnerAutoscaling(Autoscaling):
    produced_bytes_per_second: int | None = Field(default=None, ge=1)
    buffer_bytes: int | None = Field(default=None, ge=1)


class MetadataAutoscaling(Autoscaling):
    watchers: int | None = Field(default=None, ge=1)


class Component(Model):
    """What gateways, owners and metadata replicas have in common."""

    replicas: int = Field(default=2, ge=1, le=1000)
    image: str = ""
    resources: dict[str, Any]
    zones: tuple[str, ...] = ()
    node_selector: Strings = Field(default_factory=dict)
    affinity: dict[str, Any] = Field(default_factory=dict)
    tolerations: tuple[dict[str, Any], ...] = ()
    priority_class_name: str = ""


class Gateways(Component):
    resources: dict[str, Any] = _requests("500m", "1Gi")
    autoscaling: GatewayAutoscaling | None = None


class Owners(Component):
    replicas: int = Field(default=3, ge=1, le=1000)
    resources: dict[str, Any] = _requests("500m", "2Gi")
    autoscaling: OwnerAutoscaling | None = None


class Metadata(Component):
    resources: dict[str, Any] = _requests("200m", "192Mi")
    autoscaling: MetadataAutoscaling | None = None


class S3(Model):
    bucket: str = Field(min_length=3, max_length=63)
    read_bucket: str = Field(default="", max_length=63, pattern=r"^([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])?$")
    region: str = "us-east-1"
    endpoint: str = ""
    prefix: str = ""
    kms_key: str = Field(default="", max_length=2048, pattern=r"^[a-zA-Z0-9:/_-]*$")
    credentials_secret_name: str = ""
    service_account_annotations: Strings = Field(default_factory=dict)

    @model_validator(mode="after")
    def _read_elsewhere(self) -> Self:
        if self.read_bucket == self.bucket:
            raise ValueError("readBucket must be another bucket than bucket")
        return self


class EtcdTls(Model):
    secret_name: str
    client_certificate: bool = True


class ManagedEtcd(Model):
    image: str = ""
    storage_size: str = "8Gi"
    storage_class_name: str = ""
    resources: dict[str, Any] = _requests("200m", "512Mi")
    defragment_schedule: str = "17 4 * * *"
    tolerations: tuple[dict[str, Any], ...] = ()
    priority_class_name: str = ""


class Etcd(Model):
    endpoints: tuple[str, ...] = ()
    tls: EtcdTls | None = None
    auth_secret_name: str = ""
    managed: ManagedEtcd | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if bool(self.endpoints) == (self.managed is not None):
            raise ValueError("say either etcd.endpoints or etcd.managed")
        if self.managed is not None and (self.tls is not None or self.auth_secret_name):
            raise ValueError("etcd.tls and etcd.authSecretName belong to etcd.endpoints")
        return self


class External(Model):
    """How clients outside the Kubernetes cluster come in."""

    type: Literal["LoadBalancer", "NodePort"] = "LoadBalancer"
    host: str = Field(min_length=1)
    port: int = Field(default=9092, ge=1, le=65535)
    annotations: Strings = Field(default_factory=dict)


class Listeners(Model):
    advertised_mode: Literal["instance", "service"] = "service"
    tls_secret: str = Field(default="", max_length=253)
    external: External | None = None

    @model_validator(mode="after")
    def _each_has_a_name(self) -> Self:
        if self.external is None:
            return self
        if (self.advertised_mode == "instance") != ("{index}" in self.external.host):
            raise ValueError("external.host has {index} where each gateway is advertised, and only there")
        if self.advertised_mode == "instance" and self.external.type != "LoadBalancer":
            raise ValueError("one node port can't be several gateways: use type LoadBalancer with instance")
        return self


class DefaultRetention(Model):
    ms: int = Field(default=604800000, ge=-1)
    bytes: int = Field(default=-1, ge=-1)

    @model_validator(mode="after")
    def _keeps_something(self) -> Self:
        if 0 in (self.ms, self.bytes):
            raise ValueError("ms and bytes must be at least 1, or -1 for no limit")
        return self


class Config(Model):
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    segment_bytes: int = Field(default=SEGMENT_BYTES_DEFAULT, ge=65536, le=536870912)
    flush_linger_ms: float = Field(default=1, ge=0, le=50)
    flush_age_ms: int = Field(default=250, ge=1)
    flush_puts_per_second: float = Field(default=20, ge=0)
    tail_cache_bytes: int = Field(default=268435456, ge=1048576)
    cold_cache_bytes: int = Field(default=134217728, ge=1048576)
    auto_create_topics: bool = True
    default_partitions: int = Field(default=1, ge=1, le=1024)
    default_retention: DefaultRetention = DefaultRetention()
    lease_seconds: float = Field(default=6, ge=2, le=300)
    snapshot_seconds: float = Field(default=300, gt=0)
    drain_seconds: int = Field(default=45, ge=1, le=600)


class ServiceMonitor(Model):
    enabled: bool = False
    interval: str = "30s"
    labels: Strings = Field(default_factory=dict)


class MetricsSpec(Model):
    service_monitor: ServiceMonitor = ServiceMonitor()


class NetworkPolicy(Model):
    enabled: bool = True


class ClusterSpec(Model):
    image: str = ""
    image_pull_secrets: tuple[str, ...] = ()
    gateway: Gateways = Gateways()
    owner: Owners = Owners()
    metadata: Metadata = Metadata()
    s3: S3
    etcd: Etcd
    listeners: Listeners = Listeners()
    config: Config = Config()
    metrics: MetricsSpec = MetricsSpec()
    network_policy: NetworkPolicy = NetworkPolicy()


class Cluster(Model):
    """A KafscaleCluster with what the operator needs of its metadata."""

    namespace: str
    name: str
    uid: str
    generation: int
    spec: ClusterSpec


def cluster_of(item: dict[str, Any]) -> Cluster:
    """Raises pydantic.ValidationError, whose text names the fields."""
    metadata = item["metadata"]
    return Cluster(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        generation=metadata.get("generation", 1),
        spec=ClusterSpec.model_validate(item["spec"]),
    )


def problems(error: ValidationError) -> str:
    """One line for a condition."""
    return "; ".join(f"{'.'.join(map(str, each['loc'])) or 'spec'}: {each['msg']}" for each in error.errors())
