"""Clusters that would be one: of one name, on one etcd. Pure.

Owns: which of them has the name. Does not own: saying so (status.py).
Rules: 1 a cluster's keys in etcd begin with its name and know no namespace, so that owners of two would share
partitions while each has a bucket of its own; 2 the oldest resource has the name; 3 an etcd is known by its
endpoints as they are written: two names of one etcd are not seen through.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from services.operator.kinds import Object


def namesake_of(item: Object, clusters: Iterable[Object]) -> str:
    """The namespace of the KafscaleCluster that has this one's name in its etcd; empty where none does."""
    metadata = item["metadata"]
    endpoints = _endpoints(item)
    older = [
        each
        for each in clusters
        if each["metadata"]["name"] == metadata["name"]
        and each["metadata"]["namespace"] != metadata["namespace"]
        and not endpoints.isdisjoint(_endpoints(each))
        and _age(each) < _age(item)
    ]
    return str(min(older, key=_age)["metadata"]["namespace"]) if older else ""


def _endpoints(item: Mapping[str, Any]) -> frozenset[str]:
    """Of an etcd that is not the cluster's own. Specs of others were not checked by anybody here."""
    etcd = item["spec"].get("etcd") or {}
    return frozenset(str(each).rstrip("/").lower() for each in etcd.get("endpoints") or ())


def _age(item: Mapping[str, Any]) -> tuple[str, str]:
    metadata = item["metadata"]
    return metadata.get("creationTimestamp", ""), metadata["uid"]
