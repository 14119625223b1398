"""A cluster's objects by name, and what became of its owners.

Owns: asking a world for them, changing its spec. Does not own: the world (running.py).
"""

from typing import Any

from services.operator.kinds import (
    CLUSTERS,
    EVENTS,
    SERVICES,
    STATEFUL_SETS,
    Key,
    Object,
)
from tests.unit.services.operator.making import NAMESPACE
from tests.unit.services.operator.running import World

CLUSTER = Key(CLUSTERS.kind, NAMESPACE, "kafka")
OWNERS = Key(STATEFUL_SETS.kind, NAMESPACE, "kafka-partition-owner")
GATEWAYS = Key(STATEFUL_SETS.kind, NAMESPACE, "kafka-gateway")
BROKER = Key(SERVICES.kind, NAMESPACE, "kafka-broker")


def set_spec(world: World, **fields: Any) -> None:
    def change(item: Object) -> None:
        item["spec"].update(fields)

    world.kube.change(CLUSTER, change)


def set_replicas(world: World, replicas: int) -> None:
    """As the owners' HPA does."""

    def change(item: Object) -> None:
        item["spec"]["replicas"] = replicas

    world.kube.change(OWNERS, change, manager="kube-controller-manager")


def owner_uids(world: World) -> dict[str, str]:
    owners = world.controllers.pods(world.kube.objects()[OWNERS])
    return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in owners}


def restarted(world: World, before: dict[str, str]) -> set[str]:
    return {name for name, uid in owner_uids(world).items() if before.get(name) != uid}


def owner_revisions(world: World) -> set[str]:
    owners = world.controllers.pods(world.kube.objects()[OWNERS])
    return {pod["metadata"]["labels"]["controller-revision-hash"] for pod in owners}


def rolled(world: World) -> bool:
    """Every owner runs the image that the cluster names."""
    image = world.kube.objects()[CLUSTER]["spec"]["image"]
    owners = world.kube.objects()[OWNERS]
    current = owners["spec"]["template"]["spec"]["containers"][0]["image"] == image
    return current and owner_revisions(world) == {world.controllers.revision(owners)}


def events(world: World) -> list[tuple[str, str]]:
    found = world.kube.objects(EVENTS).values()
    return [(each["reason"], each["message"]) for each in found]
