"""Clusters that would be one: of one name, on one etcd. Pure.

Owns: which of them has the name. Does not own: saying so (status.py).
Rules: 1 a cluster's keys in etcd begin with its name and know no namespace, so that owners of two would
share partitions while each has a bucket of its own; 2 who runs has the name, then the oldest resource:
endpoints may be edited; 3 who is gone has it until its last pod is; 4 an etcd is known by its endpoints as
they are written: two names of one etcd are not seen through.
"""

from collections.abc import Iterable, Mapping, Set
from typing import Any

from services.operator.kinds import Object


def namesake_of(item: Object, clusters: Iterable[Object], running: Set[str]) -> str:
    """The namespace that has this KafscaleCluster's name in its etcd; empty where it has it itself.

    `running`: namespaces with StatefulSets or pods that this operator made for a cluster of this name.
    """
    own = item["metadata"]["namespace"]
    others = {
        each["metadata"]["namespace"]: each
        for each in clusters
        if each["metadata"]["name"] == item["metadata"]["name"] and each["metadata"]["namespace"] != own
    }
    endpoints = _endpoints(item)
    mine = _rank(item, running)
    before = [
        namespace
        for namespace, other in others.items()
        if not endpoints.isdisjoint(_endpoints(other)) and _rank(other, running) < mine
    ]
    leaving = set() if own in running or not endpoints else running - others.keys()
    return min((*before, *leaving), default="")


def _rank(item: Mapping[str, Any], running: Set[str]) -> tuple[bool, str, str]:
    metadata = item["metadata"]
    return metadata["namespace"] not in running, metadata.get("creationTimestamp", ""), metadata["uid"]


def _endpoints(item: Mapping[str, Any]) -> frozenset[str]:
    """Of an etcd that is not the cluster's own. Specs of others were not checked by anybody here."""
    etcd = item["spec"].get("etcd") or {}
    return frozenset(str(each).rstrip("/").lower() for each in etcd.get("endpoints") or ())
