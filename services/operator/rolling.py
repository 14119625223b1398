"""How owners are restarted and taken away: drain -> delete -> wait, one at a time. Pure.

Owns: which pod is next and what is done with it. Does not own: doing it (clusters.py, drain_rpc.py).
Rules: 1 nothing is begun while a pod is missing, going or not ready: one owner at a time is away; 2 a pod
goes only after its partitions are handed over; a drain that fails stops all of it and says which pod and why;
3 what was drained is known by the pod's uid and restarts: a restarted container is given partitions again;
4 a pod that never served has nothing to hand over, and one that is alone has nobody to hand it to;
5 a pod that was told to drain gets no partitions until it registers a new session, which a restart makes
sure of: one that is to stay after all is restarted, and before others leave, who would have no heir.
What came of a drain is kept in memory only: draining an owner again that has nothing is answered at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from services.operator.kinds import GROUP, controller_of
from services.operator.render.common import OWNER

TOLD_TO_DRAIN = f"{GROUP}/told-to-drain"
"""Annotation of a pod, written before it is asked to drain: its container's restarts at that time."""


class Life(NamedTuple):
    """One life of the owner's process in its pod."""

    uid: str
    restarts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    name: str
    version: str
    life: Life
    ordinal: int
    revision: str
    ip: str
    ready: bool
    deleting: bool
    served: bool
    """Its container runs and was ready once in this life: it may have partitions."""
    told_to_drain: bool = False
    """In this life."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owners:
    """The owners' StatefulSet as the API server has it."""

    current: bool
    """Its status is about the newest spec."""
    replicas: int
    update_revision: str
    pods: tuple[Pod, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """Everything was handed over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainFailed:
    why: str
    refused: bool = False
    """Nobody can take over: it was not even told, and serves on."""


Drains = Mapping[Life, Drained | DrainFailed]


@dataclass(frozen=True, slots=True, kw_only=True)
class Idle:
    """Every pod is as it should be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    pod: Pod
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """Delete the pod; the StatefulSet makes it anew."""

    pod: Pod


@dataclass(frozen=True, slots=True, kw_only=True)
class Shrink:
    """What leaves is drained: the StatefulSet may have so many."""

    replicas: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocked:
    pod: Pod
    why: str


Step = Idle | Wait | Drain | Restart | Shrink | Blocked


def next_step(owners: Owners, *, replicas: int | None, drains: Drains) -> Step:
    """`replicas`: what the spec asks for; None while an HPA has the count."""
    if not owners.current:
        return Wait(why="the StatefulSet's controller has not seen its newest spec")
    if replicas is not None and replicas < owners.replicas:
        return _leave(owners, replicas, drains)
    return _roll(owners, drains)


def _leave(owners: Owners, replicas: int, drains: Drains) -> Step:
    """From the highest ordinal down, as the StatefulSet takes them away."""
    reason = f"scale-down to {replicas} owners"
    living = [pod for pod in owners.pods if not pod.deleting]
    leaving = [
        pod for pod in living if pod.ordinal >= replicas and pod.served and not _is_drained(pod, drains)
    ]
    if not leaving:
        return Shrink(replicas=replicas)
    heirs = [pod for pod in living if pod.ordinal < replicas]
    told = [pod for pod in heirs if pod.told_to_drain and not _is_refused(pod, drains)]
    if told:
        return _replace(_first(told, drains), drains, reason=reason)
    if not any(pod.ready for pod in heirs):
        return Wait(why="no owner that stays is ready")
    return _replace(max(leaving, key=lambda pod: pod.ordinal), drains, reason=reason)


def _roll(owners: Owners, drains: Drains) -> Step:
    waited_for = _unsettled(owners)
    if waited_for:
        return Wait(why=waited_for)
    outdated = [pod for pod in owners.pods if pod.revision != owners.update_revision]
    # Drained for what is not asked for any more.
    outdated += [pod for pod in owners.pods if pod not in outdated and pod.told_to_drain]
    # One that serves nothing is replaced first: it may be why there is a new revision.
    dead = [pod for pod in outdated if not pod.served]
    if dead:
        return Restart(pod=max(dead, key=lambda pod: pod.ordinal))
    unready = [pod.name for pod in owners.pods if not pod.ready and pod not in outdated]
    if unready:
        return Wait(why=f"pod {unready[0]} is not ready")
    if not outdated:
        return Idle()
    pod = _first(outdated, drains)
    return Restart(pod=pod) if len(owners.pods) == 1 else _replace(pod, drains, reason="rolling update")


def _first(pods: Sequence[Pod], drains: Drains) -> Pod:
    """One that is not ready any more is next: no second one goes away beside it. Then who serves nothing."""

    def rank(pod: Pod) -> tuple[bool, bool, bool, int]:
        drained, untried = _is_drained(pod, drains), pod.life not in drains
        return not pod.ready, drained, pod.told_to_drain and untried, pod.ordinal

    return max(pods, key=rank)


def _unsettled(owners: Owners) -> str:
    """What the StatefulSet's controller is still at; empty where nothing."""
    going = [pod.name for pod in owners.pods if pod.deleting]
    missing = owners.replicas - len(owners.pods)
    if going:
        return f"pod {going[0]} is going"
    return f"{missing} pods are missing" if missing > 0 else ""


def _replace(pod: Pod, drains: Drains, *, reason: str) -> Step:
    """Drained first."""
    match drains.get(pod.life):
        case DrainFailed(why=why):
            return Blocked(pod=pod, why=why)
        case None if pod.served:
            return Drain(pod=pod, reason=reason)
        case _:
            return Restart(pod=pod)


def _is_drained(pod: Pod, drains: Drains) -> bool:
    return isinstance(drains.get(pod.life), Drained)


def _is_refused(pod: Pod, drains: Drains) -> bool:
    outcome = drains.get(pod.life)
    return isinstance(outcome, DrainFailed) and outcome.refused


def owners_of(stateful_set: Mapping[str, Any], pods: Sequence[Mapping[str, Any]]) -> Owners:
    """From the objects; pods of other controllers are left out."""
    metadata, status = stateful_set["metadata"], stateful_set.get("status") or {}
    mine = [pod for pod in pods if controller_of(pod) == metadata["uid"]]
    return Owners(
        current=status.get("observedGeneration", 0) >= metadata.get("generation", 1)
        and bool(status.get("updateRevision")),
        replicas=stateful_set["spec"].get("replicas", 1),
        update_revision=status.get("updateRevision") or "",
        pods=tuple(sorted((_pod(pod) for pod in mine), key=lambda pod: pod.ordinal)),
    )


def ordinal_of(pod: Mapping[str, Any]) -> int:
    """Its number in its StatefulSet."""
    return int(pod["metadata"]["name"].rpartition("-")[2])


def _pod(item: Mapping[str, Any]) -> Pod:
    metadata, status = item["metadata"], item.get("status") or {}
    containers = status.get("containerStatuses") or ()
    container: Mapping[str, Any] = next((each for each in containers if each["name"] == OWNER), {})
    life = Life(metadata["uid"], container.get("restartCount", 0))
    return Pod(
        name=metadata["name"],
        version=metadata["resourceVersion"],
        life=life,
        ordinal=ordinal_of(item),
        revision=(metadata.get("labels") or {}).get("controller-revision-hash", ""),
        ip=status.get("podIP") or "",
        ready=any(
            each["type"] == "Ready" and each["status"] == "True" for each in status.get("conditions") or ()
        ),
        deleting=bool(metadata.get("deletionTimestamp")),
        served=bool(container.get("started")),
        told_to_drain=(metadata.get("annotations") or {}).get(TOLD_TO_DRAIN) == str(life.restarts),
    )
