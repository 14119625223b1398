"""Gateways stay as they are while a Service that new ones would tell clients of can't be had."""

from typing import Any

import pytest

from libs.model.errors import Invalid, Reason, Unavailable
from services.operator.conditions import PROGRESSING, READY, ROLL_BLOCKED
from services.operator.kinds import CONFIG_MAPS, PODS, SERVICES, Key, Object
from services.operator.kube import MANAGER
from tests.unit.services.operator.fake_kube import FakeKube
from tests.unit.services.operator.making import NAMESPACE, cluster_object
from tests.unit.services.operator.owning import CLUSTER, GATEWAYS, rolled, set_spec
from tests.unit.services.operator.running import World, running

BY_INSTANCE = {"advertisedMode": "instance", "external": {"host": "k{index}.example.com"}}
NO_NODE_PORT = {"external": {"type": "NodePort", "host": "node.example.com", "port": 9092}}
OF_ONE = Key(SERVICES.kind, NAMESPACE, "kafka-gateway-0")


def template(world: World) -> Any:
    return world.kube.objects()[GATEWAYS]["spec"]["template"]


def container(world: World) -> Any:
    (found,) = template(world)["spec"]["containers"]
    return found


def set_listeners(world: World, listeners: Object) -> None:
    def change(item: Object) -> None:
        item["spec"]["listeners"] = listeners

    world.kube.change(CLUSTER, change)


class NodePorts(FakeKube):
    """Has those of Kubernetes' range only."""

    async def apply(self, item: Object, *, manager: str = MANAGER, subresource: str = "") -> Object:
        ports = item["spec"].get("ports", []) if item["kind"] == SERVICES.kind else []
        if any(not 30000 <= each.get("nodePort", 30000) <= 32767 for each in ports):
            raise Invalid("provided port is not in the valid range", reason=Reason.UNSPECIFIED)
        return await super().apply(item, manager=manager, subresource=subresource)


async def test_gateways_go_on_as_they_are_while_their_service_is_refused(autojump_clock: object) -> None:
    """New ones would tell clients of an address that nothing serves."""
    async with running(World(NodePorts())) as world:
        world.kube.put(cluster_object())
        await world.wait(lambda: world.holds(READY) and not world.holds(PROGRESSING))
        before = world.kube.objects()[GATEWAYS]["spec"]["template"]
        external = {"type": "NodePort", "host": "node.example.com"}
        set_spec(world, image="kafscale:next", listeners={"external": {**external, "port": 9092}})
        await world.wait(lambda: world.condition(READY)["reason"] == "ApplyFailed")
        assert "not in the valid range" in world.condition(READY)["message"]
        await world.wait(lambda: rolled(world))
        assert world.kube.objects()[GATEWAYS]["spec"]["template"] == before
        set_spec(world, listeners={"external": {**external, "port": 30092}})
        await world.wait(lambda: world.holds(READY) and not world.holds(PROGRESSING))
        (container,) = world.kube.objects()[GATEWAYS]["spec"]["template"]["spec"]["containers"]
        assert {"name": "KAFSCALE_ADVERTISED_PORT", "value": "30092"} in container["env"]


async def test_gateways_keep_the_services_that_they_tell_of(autojump_clock: object) -> None:
    """From a balancer of each gateway to a node port that is refused: its address would not come back."""
    async with running(World(NodePorts())) as world:
        world.kube.put(cluster_object({"listeners": BY_INSTANCE}))
        await world.wait(lambda: world.holds(READY) and not world.holds(PROGRESSING))
        assert OF_ONE in world.kube.objects()
        set_listeners(world, NO_NODE_PORT)
        await world.settle(300)
        told = {"name": "KAFSCALE_ADVERTISED_HOST", "value": "k$(POD_INDEX).example.com"}
        assert told in container(world)["env"]
        assert OF_ONE in world.kube.objects()
        set_listeners(world, {})
        await world.wait(lambda: world.holds(READY) and not world.holds(PROGRESSING))
        assert OF_ONE not in world.kube.objects()
        assert told not in container(world)["env"]


async def test_a_setting_that_is_left_out_by_now_stops_no_pod_from_starting_again(
    autojump_clock: object,
) -> None:
    async with running(World(NodePorts())) as world:
        world.kube.put(cluster_object({"listeners": {"tlsSecret": "kafka-tls"}}))
        await world.wait(lambda: world.holds(READY) and not world.holds(PROGRESSING))
        set_listeners(world, NO_NODE_PORT)
        await world.settle(120)
        sources = [each.get("valueFrom", {}).get("configMapKeyRef") for each in container(world)["env"]]
        wanted = {each["key"] for each in sources if each is not None and not each.get("optional")}
        assert wanted == {"KAFSCALE_CLUSTER", "KAFSCALE_METADATA_ADDRESSES"}
        assert wanted <= set(world.kube.objects()[Key(CONFIG_MAPS.kind, NAMESPACE, "kafka-config")]["data"])
        assert "KAFSCALE_KAFKA_TLS_CERT_FILE" in {each["key"] for each in sources if each is not None}


class NoSpareService(FakeKube):
    """A quota of balancers: there is none for the last gateway that may come."""

    async def apply(self, item: Object, *, manager: str = MANAGER, subresource: str = "") -> Object:
        if item["metadata"]["name"] == "kafka-gateway-3":
            raise Invalid("exceeded quota: services.loadbalancers", reason=Reason.UNSPECIFIED)
        return await super().apply(item, manager=manager, subresource=subresource)


async def test_the_service_of_a_gateway_that_may_come_one_day_holds_nobody(autojump_clock: object) -> None:
    spec = {"listeners": BY_INSTANCE, "gateway": {"autoscaling": {"minReplicas": 2, "maxReplicas": 4}}}
    async with running(World(NoSpareService())) as world:
        world.kube.put(cluster_object(spec))
        await world.wait(lambda: GATEWAYS in world.kube.objects())
        await world.settle(60)
        set_spec(world, image="kafscale:next")
        await world.wait(lambda: container(world)["image"] == "kafscale:next")


class Unreadable(FakeKube):
    """One Service is never read: the API server has its own trouble."""

    async def get(self, key: Key) -> Object:
        if key == OF_ONE:
            raise Unavailable("etcdserver: request timed out")
        return await super().get(key)


@pytest.mark.parametrize("kube", [FakeKube, Unreadable])
async def test_a_service_that_cannot_be_read_or_is_foreign_holds_gateways(
    autojump_clock: object, kube: type[FakeKube]
) -> None:
    async with running(World(kube())) as world:
        if kube is FakeKube:
            metadata = {"name": OF_ONE.name, "namespace": NAMESPACE}
            foreign = {"apiVersion": "v1", "kind": "Service", "metadata": metadata}
            world.kube.put({**foreign, "spec": {"type": "ClusterIP"}})
        world.kube.put(cluster_object())
        await world.wait(lambda: world.holds(READY) and not world.holds(PROGRESSING))
        before = template(world)
        set_listeners(world, BY_INSTANCE)
        await world.wait(lambda: not world.holds(READY))
        await world.settle(120)
        assert template(world) == before


async def test_why_is_told_also_where_gateways_are_not_ready(autojump_clock: object) -> None:
    """The image that would mend them is held back."""
    refused = "not in the valid range"

    def fail(item: Object) -> None:
        item["status"]["conditions"] = [{"type": "Ready", "status": "False"}]

    async with running(World(NodePorts())) as world:
        world.kube.put(cluster_object())
        await world.wait(lambda: world.holds(READY) and not world.holds(PROGRESSING))
        set_spec(world, image="kafscale:next", listeners=NO_NODE_PORT)
        await world.settle(30)
        world.kube.change(Key(PODS.kind, NAMESPACE, "kafka-gateway-0"), fail, manager="kubelet")
        await world.wait(lambda: world.condition(READY)["reason"] == "PodsNotReady")
        await world.wait(lambda: refused in world.condition(READY)["message"])
        assert world.holds(ROLL_BLOCKED)
        assert refused in world.condition(ROLL_BLOCKED)["message"]
