"""Gateways advertised one by one, behind TLS: clients reach each by a name that its certificate has.

Each service runs in the image of its own here, the operator too, where all other tests take the one of all.
"""

from collections.abc import Iterator, Mapping

import confluent_kafka
import pytest
import trustme
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.e2e.clusters import SMALL, Cluster, cluster_spec, open_cluster
from tests.e2e.control_plane import wait_until
from tests.e2e.world import World
from tests.support.certificates import issue
from tests.support.clients import produce_all

NAMESPACE = "listening"
NAME = "inst"
GATEWAYS = {f"{NAME}-gateway-{index}.{NAME}-gateway.{NAMESPACE}.svc" for index in range(2)}
COMPONENTS = ("gateway", "partition-owner", "metadata")
RECORDS = 60
READ_SECONDS_MAX = 60.0
NO_ANSWER_SECONDS = 5.0

pytestmark = pytest.mark.timeout(600)

Settings = Mapping[str, str | int]


@pytest.fixture(scope="module")
def cluster(
    world: World, operator_apart: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Cluster, Settings]]:
    """And what a client has to say."""
    files = issue(
        tmp_path_factory.mktemp("listener"),
        f"{NAME}-broker.{NAMESPACE}.svc",
        f"*.{NAME}-gateway.{NAMESPACE}.svc",
        authority=trustme.CA(),
    )
    world.add_namespace(NAMESPACE)
    secret = {
        "metadata": {"name": "listener"},
        "type": "kubernetes.io/tls",
        "stringData": {each.name: each.read_text() for each in (files.cert_file, files.key_file)},
    }
    world.call("POST", f"/api/v1/namespaces/{NAMESPACE}/secrets", secret)
    one = {"replicas": 1, "resources": SMALL}
    spec = cluster_spec(
        NAMESPACE,
        gateway={"replicas": len(GATEWAYS), "resources": SMALL, "image": "kafscale-gateway"},
        owner={**one, "image": "kafscale-partition-owner"},
        metadata={**one, "image": "kafscale-metadata"},
        listeners={"advertisedMode": "instance", "tlsSecret": "listener"},
    )
    with open_cluster(world, NAMESPACE, NAME, spec) as made:
        yield made, {"security.protocol": "ssl", "ssl.ca.location": str(files.ca_file)}


def test_each_service_runs_in_an_image_of_its_own(
    cluster: tuple[Cluster, Settings], operator_apart: str
) -> None:
    made, _ = cluster
    pods = [pod for component in COMPONENTS for pod in made.pods(component)]
    pods += made.world.pods(operator_apart, "operator")
    images = {
        pod["metadata"]["labels"]["app.kubernetes.io/component"]: image.partition(":")[0]
        for pod in pods
        for image in (each["image"] for each in pod["status"]["containerStatuses"])
    }
    assert images == {component: f"kafscale-{component}" for component in (*COMPONENTS, "operator")}


def test_each_gateway_is_told_by_its_own_name(cluster: tuple[Cluster, Settings]) -> None:
    made, tls = cluster
    told = AdminClient({"bootstrap.servers": made.bootstrap, **tls}).list_topics(timeout=30)
    assert {broker.host for broker in told.brokers.values()} == GATEWAYS


def test_nobody_comes_in_without_tls(cluster: tuple[Cluster, Settings]) -> None:
    made, _ = cluster
    with pytest.raises(confluent_kafka.KafkaException):
        AdminClient({"bootstrap.servers": made.bootstrap}).list_topics(timeout=NO_ANSWER_SECONDS)


def test_clients_go_on_by_the_others_where_one_is_replaced(cluster: tuple[Cluster, Settings]) -> None:
    made, tls = cluster
    admin = AdminClient({"bootstrap.servers": made.bootstrap, **tls})
    admin.create_topics([NewTopic("orders", 4, 1)])["orders"].result(READ_SECONDS_MAX)
    produce_all(made.bootstrap, "orders", _records("before"), settings=tls)
    before = made.uids("gateway")
    made.world.kubectl("delete", "pod", f"{NAME}-gateway-0", "--namespace", NAMESPACE)
    produce_all(made.bootstrap, "orders", _records("meanwhile"), settings=tls)
    wait_until(lambda: made.uids("gateway") != before, "it is back", seconds_max=120)
    made.wait_ready()
    produce_all(made.bootstrap, "orders", _records("after"), settings=tls)
    wanted = [value for when in ("before", "meanwhile", "after") for _, value in _records(when)]
    assert sorted(_read(made.bootstrap, "orders", tls, count=len(wanted))) == sorted(wanted)


def _records(when: str) -> list[tuple[int, bytes]]:
    return [(number % 4, f"{when} {number}".encode()) for number in range(RECORDS)]


def _read(bootstrap: str, topic: str, settings: Settings, *, count: int) -> list[bytes]:
    """By a group, until so many are there or nothing more comes."""
    consumer = confluent_kafka.Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "all", "auto.offset.reset": "earliest", **settings}
    )
    consumer.subscribe([topic])
    try:
        found: list[bytes] = []
        while len(found) < count:
            message = consumer.poll(READ_SECONDS_MAX)
            assert message is not None, f"{len(found)} of {count} records"
            assert message.error() is None, message.error()
            value = message.value()
            assert value is not None
            found.append(value)
        return found
    finally:
        consumer.close()
