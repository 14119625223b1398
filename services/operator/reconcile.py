"""reconcile(desired, observed) -> actions: what has to be done to the API server. Pure, level-triggered.

Owns: what is applied, deleted, left alone. Does not own: what is desired (render/), doing it (clusters.py),
the owners' pods (rolling.py).
Rules: 1 the same world twice gives nothing the second time; 2 an object without our label, or that another
controller has, is never touched; 3 a replica count that goes to an HPA is first held by another field
manager, guarded by the version that was read: dropped, it would fall to 1; 4 one that comes from an HPA is
set after the HPA is gone, or the HPA would set it back; 5 pods that there are stay as they are, and so do the
Services that they tell clients of, while a Service that the new ones would tell of can't be had.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from services.operator.compare import is_applied, stamped
from services.operator.kinds import AUTOSCALERS, SERVICES, STATEFUL_SETS, Key, Object, key_of, labels_of
from services.operator.kube import HANDOVER_MANAGER, MANAGER
from services.operator.render.common import COMPONENT_LABEL, INSTANCE_LABEL, MANAGED_BY, MANAGED_BY_LABEL

_POD_NAME_LABEL = "statefulset.kubernetes.io/pod-name"


@dataclass(frozen=True, slots=True, kw_only=True)
class Apply:
    item: Object
    manager: str = MANAGER
    after: tuple[Key, ...] = ()
    """Objects whose actions come first, and without which this one may not be done."""

    @property
    def key(self) -> Key:
        return key_of(self.item)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete:
    key: Key
    uid: str
    after: tuple[Key, ...] = ()
    """As of Apply."""


Action = Apply | Delete


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    actions: tuple[Action, ...]
    """In order."""
    foreign: tuple[Key, ...]
    """Objects that have a name of ours and are not ours."""


def reconcile(
    desired: Iterable[Object],
    observed: Mapping[Key, Object],
    *,
    name: str,
    uid: str,
    unread: Collection[Key] = (),
) -> Plan:
    """`observed`: every object of the cluster's namespace that carries its labels or has a desired name, but
    for the `unread`, which are left alone: they may be there.
    """
    wanted = {key_of(item): stamped(item) for item in desired}
    unwanted = [
        item
        for key, item in observed.items()
        if key not in wanted and _is_made_here(item, name=name, uid=uid)
    ]
    deletes = [
        Delete(key=key_of(item), uid=item["metadata"]["uid"], after=_told_of_instead(item, wanted, observed))
        for item in sorted(unwanted, key=lambda item: (item["kind"] != AUTOSCALERS.kind, key_of(item)))
    ]
    foreign = [key for key in wanted if key in observed and not may_change(observed[key], name=name, uid=uid)]
    applies: list[Apply] = []
    for key, item in wanted.items():
        seen = observed.get(key)
        if key in foreign or key in unread or (seen is not None and is_applied(item, seen)):
            continue
        if seen is not None and seen["metadata"].get("deletionTimestamp"):
            continue  # it comes back when it is gone
        after = [key._replace(kind=AUTOSCALERS.kind)] if "replicas" in item.get("spec", {}) else []
        if seen is not None and item["kind"] == STATEFUL_SETS.kind:
            after += _services_of(seen, wanted)
        if seen is not None and _gives_up_replicas(item, seen):
            applies.append(_held_replicas(seen, after))
            after.append(key)
        applies.append(Apply(item=item, after=tuple(after)))
    early = [each for each in deletes if not each.after]
    late = [each for each in deletes if each.after]
    return Plan(actions=(*early, *applies, *late), foreign=tuple(foreign))


def may_change(item: Mapping[str, Any], *, name: str, uid: str) -> bool:
    """Ours by label, and no other controller's: one that a person labelled for us may be taken over."""
    controllers = [each for each in item["metadata"].get("ownerReferences") or () if each.get("controller")]
    return (
        labels_of(item).get(MANAGED_BY_LABEL) == MANAGED_BY
        and labels_of(item).get(INSTANCE_LABEL) == name
        and all(each.get("uid") == uid for each in controllers)
    )


def _is_made_here(item: Mapping[str, Any], *, name: str, uid: str) -> bool:
    """Made for this cluster and not only labelled for it; and not going already."""
    owners = item["metadata"].get("ownerReferences") or ()
    return (
        may_change(item, name=name, uid=uid)
        and any(each.get("uid") == uid for each in owners)
        and not item["metadata"].get("deletionTimestamp")
    )


def _told_of_instead(
    service: Mapping[str, Any], wanted: Mapping[Key, Object], observed: Mapping[Key, Object]
) -> tuple[Key, ...]:
    """What new pods need before a Service may go that those that there are tell clients of."""
    if service["kind"] != SERVICES.kind:
        return ()
    for key, item in wanted.items():
        if key.kind == STATEFUL_SETS.kind and key in observed and _component(item) == _component(service):
            return (key, *_services_of(observed[key], wanted))
    return ()


def _services_of(stateful_set: Mapping[str, Any], wanted: Mapping[Key, Object]) -> list[Key]:
    """The wanted Services of its pods, without those of pods that may come one day."""
    pods = stateful_set["spec"].get("replicas", 1)
    return [
        key
        for key, item in wanted.items()
        if key.kind == SERVICES.kind
        and _component(item) == _component(stateful_set)
        and _ordinal(item["spec"].get("selector", {}).get(_POD_NAME_LABEL)) < pods
    ]


def _component(item: Mapping[str, Any]) -> str | None:
    return labels_of(item).get(COMPONENT_LABEL)


def _ordinal(pod_name: str | None) -> int:
    """Of the one pod that a Service selects; -1 where it selects all."""
    return -1 if pod_name is None else int(pod_name.rpartition("-")[2])


def _gives_up_replicas(item: Object, seen: Mapping[str, Any]) -> bool:
    return (
        item["kind"] == STATEFUL_SETS.kind
        and "replicas" not in item["spec"]
        and any(
            each.get("manager") == MANAGER and "f:replicas" in (each.get("fieldsV1") or {}).get("f:spec", {})
            for each in seen["metadata"].get("managedFields") or ()
        )
    )


def _held_replicas(seen: Mapping[str, Any], after: Iterable[Key]) -> Apply:
    metadata = seen["metadata"]
    item: Object = {
        "apiVersion": seen["apiVersion"],
        "kind": seen["kind"],
        "metadata": {
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "resourceVersion": metadata["resourceVersion"],
        },
        "spec": {"replicas": seen["spec"]["replicas"]},
    }
    return Apply(item=item, manager=HANDOVER_MANAGER, after=tuple(after))
