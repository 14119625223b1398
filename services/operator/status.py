"""What the status of a KafscaleCluster says. Pure.

Owns: its conditions and counts. Does not own: writing it (clusters.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.operator.conditions import (
    PERMISSIONS_MISSING,
    PROGRESSING,
    READY,
    ROLL_BLOCKED,
    Condition,
    merged,
)
from services.operator.kinds import SERVICES, STATEFUL_SETS, Key, Object, key_of
from services.operator.render.common import GATEWAY, METADATA, OWNER
from services.operator.rolling import Blocked, Idle, Step, Wait


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """What one look at a cluster came to."""

    step: Step
    """Of the owners' pods."""
    foreign: tuple[Key, ...] = ()
    permissions: tuple[str, ...] = ()
    """Those that were refused."""
    errors: tuple[str, ...] = ()
    holding: tuple[str, ...] = ()
    """Those of them for which owners are not rolled."""
    changed: int = 0
    """Actions done."""
    invalid: str = ""
    """Why the spec can't be obeyed."""
    namesake: str = ""
    """The namespace of the cluster that has this one's name in its etcd."""
    troubles: Mapping[Key, str] = field(default_factory=dict)
    """StatefulSet -> what keeps a pod of it from being ready."""


def conditions(desired: Sequence[Object], observed: Mapping[Key, Object], seen: Pass) -> list[Condition]:
    sets = [item for item in desired if item["kind"] == STATEFUL_SETS.kind]
    lacking = [text for item in sets if (text := _lacking(item, observed, seen.troubles))]
    return [
        _ready(lacking, seen),
        _progressing(lacking, seen),
        _roll_blocked(seen),
        Condition(
            type=PERMISSIONS_MISSING,
            holds=bool(seen.permissions),
            reason="Forbidden" if seen.permissions else "Allowed",
            message="the operator's service account may not " + ", ".join(sorted(set(seen.permissions)))
            if seen.permissions
            else "",
        ),
    ]


def _ready(lacking: list[str], seen: Pass) -> Condition:
    if seen.invalid:
        return Condition(type=READY, holds=False, reason="InvalidSpec", message=seen.invalid)
    if seen.namesake:
        text = (
            f"the cluster of this name in namespace {seen.namesake} has the same etcd, so they would be one:"
            " give this one another name or another etcd; nothing was done"
        )
        return Condition(type=READY, holds=False, reason="NameTaken", message=text)
    if seen.foreign:
        names = ", ".join(map(str, seen.foreign))
        text = f"not this cluster's, and left alone: {names}; rename the cluster, or label them for it"
        return Condition(type=READY, holds=False, reason="NameTaken", message=text)
    if lacking:
        told = "; ".join((*lacking, *seen.errors))
        return Condition(type=READY, holds=False, reason="PodsNotReady", message=told)
    if seen.errors:
        return Condition(type=READY, holds=False, reason="ApplyFailed", message="; ".join(seen.errors))
    return Condition(type=READY, holds=True, reason="PodsReady")


def _progressing(lacking: list[str], seen: Pass) -> Condition:
    match seen.step:
        case Wait(why=why):
            text = why
        case Idle() | Blocked():
            text = ""
        case _:
            text = "" if seen.holding else "owners are being drained or restarted"
    if not text and (seen.changed or lacking):
        text = "; ".join(lacking) or f"{seen.changed} objects were changed"
    holds = bool(text) and not seen.invalid
    return Condition(
        type=PROGRESSING,
        holds=holds,
        reason="Changing" if holds else "Settled",
        message=text if holds else "",
    )


def _roll_blocked(seen: Pass) -> Condition:
    match seen.step:
        case Blocked(pod=pod, why=why):
            text = f"pod {pod.name} was not drained: {why}"
            return Condition(type=ROLL_BLOCKED, holds=True, reason="DrainFailed", message=text)
        case _ if seen.holding:
            text = "; ".join(seen.holding)
            return Condition(type=ROLL_BLOCKED, holds=True, reason="ApplyFailed", message=text)
        case _:
            return Condition(type=ROLL_BLOCKED, holds=False, reason="NotBlocked")


def _lacking(wanted: Object, observed: Mapping[Key, Object], troubles: Mapping[Key, str]) -> str:
    """What a StatefulSet still lacks; empty where it has everything."""
    key = key_of(wanted)
    seen = observed.get(key)
    if seen is None:
        return f"{key.name} is not there yet"
    ready, asked = _ready_of(seen)
    if ready >= asked:
        return ""
    text = f"{key.name} has {ready} of {asked} pods ready"
    return f"{text} ({troubles[key]})" if troubles.get(key) else text


def _ready_of(stateful_set: Mapping[str, Any]) -> tuple[int, int]:
    status = stateful_set.get("status") or {}
    return status.get("readyReplicas", 0), stateful_set["spec"].get("replicas", 1)


def cluster_status(
    item: Object,
    said: Sequence[Condition],
    desired: Sequence[Object],
    observed: Mapping[Key, Object],
    *,
    now_ms: int,
) -> dict[str, Any]:
    """The whole status; the same world gives the same one."""
    metadata = item["metadata"]
    before = item.get("status") or {}
    generation = metadata.get("generation", 1)
    counts = {}
    for place, component in (("gateways", GATEWAY), ("owners", OWNER), ("metadata", METADATA)):
        name = f"{metadata['name']}-{component}"
        seen = observed.get(Key(STATEFUL_SETS.kind, metadata["namespace"], name))
        if seen is not None:
            ready, asked = _ready_of(seen)
            counts[place] = f"{ready}/{asked}"
    # Where nothing is made of the spec, what was made before it stays.
    known = {"bootstrap": before["bootstrap"]} if "bootstrap" in before else {}
    broker = Key(SERVICES.kind, metadata["namespace"], f"{metadata['name']}-broker")
    for each in desired:
        if key_of(each) == broker:
            port = each["spec"]["ports"][0]["port"]
            known = {"bootstrap": f"{broker.name}.{broker.namespace}.svc:{port}"}
    return {
        "observedGeneration": generation,
        **known,
        **counts,
        "conditions": merged(before.get("conditions") or (), said, generation=generation, now_ms=now_ms),
    }
