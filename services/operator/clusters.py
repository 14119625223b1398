"""One look at a KafscaleCluster: observe, decide, act, report.

Owns: doing what reconcile.py and rolling.py decide. Does not own: what they decide, when (work_queue.py).
Rules: 1 an action that fails stops only those that name it in `Apply.after`; 2 owners are rolled only after
everything that they need was applied, one step at a look; 3 what can't be read may be there, and stays.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import structlog
import trio
from pydantic import ValidationError

from libs.model.errors import Fenced, KafscaleError, NotFound, Unavailable
from services.operator.drain_rpc import Drainer
from services.operator.kinds import (
    AUTOSCALERS,
    CLUSTERS,
    CONFIG_MAPS,
    MADE,
    PODS,
    SERVICE_ACCOUNTS,
    SERVICES,
    STATEFUL_SETS,
    Key,
    Object,
    controller_of,
    key_of,
)
from services.operator.kube import Forbidden, Kube
from services.operator.mirrors import Mirrors
from services.operator.namesakes import namesake_of
from services.operator.pods import trouble
from services.operator.reconcile import Action, Apply, may_change, reconcile
from services.operator.render.cluster import render
from services.operator.render.common import (
    ADMIN_PORT,
    ETCD,
    GATEWAY,
    INSTANCE_LABEL,
    MANAGED_BY,
    MANAGED_BY_LABEL,
    METADATA,
    OWNER,
    Context,
    selector,
)
from services.operator.reporting import Reporter
from services.operator.rolling import (
    TOLD_TO_DRAIN,
    Drain,
    Drained,
    DrainFailed,
    Idle,
    Life,
    Restart,
    Shrink,
    Step,
    Wait,
    next_step,
    ordinal_of,
    owners_of,
)
from services.operator.spec import Cluster, cluster_of, problems
from services.operator.status import Pass, cluster_status, conditions

RETRY_DRAIN_SECONDS = 30.0
LOOK_FOR_NAMESAKE_SECONDS = 30.0
"""No change of this cluster tells that another one is gone."""

_OWNERS_ARE_MADE_OF = tuple(
    each.kind for each in (SERVICE_ACCOUNTS, CONFIG_MAPS, SERVICES, AUTOSCALERS, STATEFUL_SETS)
)

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Doing:
    """What happened in one look."""

    permissions: list[str] = field(default_factory=list)
    failed: set[Key] = field(default_factory=set)
    """Objects that could not be read or written."""
    foreign: frozenset[Key] = frozenset()
    """Objects that have a name of ours and are not ours."""
    held_by: set[Key] = field(default_factory=set)
    """What other objects could not be written or deleted without."""
    errors: dict[Key, str] = field(default_factory=dict)
    changed: set[Key] = field(default_factory=set)
    again: bool = False

    def fail(self, error: KafscaleError, key: Key) -> None:
        self.failed.add(key)
        if isinstance(error, Forbidden):
            self.permissions.append(error.permission)
        elif isinstance(error, Fenced):
            self.again = True  # it changed since we looked: look again
            return
        self.errors[key] = f"{key}: {error.message}"


def _owners_need(key: Key, cluster: Cluster) -> bool:
    """Whether owners are left as they are in a look that changed this object, or can't read or write it."""
    names = (f"{cluster.name}-config", f"{cluster.name}-{OWNER}")
    return key.kind == PODS.kind or (key.kind in _OWNERS_ARE_MADE_OF and key.name in names)


class Clusters:
    def __init__(
        self, *, kube: Kube, mirrors: Mirrors, drainer: Drainer, reporter: Reporter, default_image: str
    ) -> None:
        self._kube = kube
        self._mirrors = mirrors
        self._drainer = drainer
        self._reporter = reporter
        self._default_image = default_image
        self._drains: dict[Key, dict[Life, Drained | DrainFailed]] = {}
        self._failed_at: dict[Life, float] = {}
        self.drains_total = {"done": 0, "failed": 0}
        self.restarts_total = 0

    async def work(self, key: Key) -> float | None:
        """One look. Returns in how many seconds there has to be another, None where a change will say.

        Raises the kinds of error where it has to be tried again.
        """
        item = self._mirrors.get(key)
        if item is None or item["metadata"].get("deletionTimestamp"):
            self._drains.pop(key, None)  # its objects go by their owner references
            return None
        try:
            cluster = cluster_of(item)
        except ValidationError as error:
            await self._report(item, [], {}, Pass(step=Idle(), invalid=problems(error)))
            return None
        namesake = namesake_of(item, self._mirrors.items(CLUSTERS), self._running(cluster.name))
        if namesake:
            await self._report(item, [], {}, Pass(step=Idle(), namesake=namesake))
            return LOOK_FOR_NAMESAKE_SECONDS
        return await self._look(item, cluster)

    async def _look(self, item: Object, cluster: Cluster) -> float | None:
        key, doing = key_of(item), _Doing()
        context = Context(cluster=cluster, default_image=self._default_image)
        observed = await self._observe(cluster, render(context), doing)
        step, held = self._owners_step(key, cluster, observed)
        desired = render(context, owner_replicas=held, gateways=self._gateways(cluster, observed))
        self._note_unseen(cluster, desired, doing)
        unread = frozenset(doing.failed)
        plan = reconcile(desired, observed, name=cluster.name, uid=cluster.uid, unread=unread)
        doing.foreign = frozenset(plan.foreign)
        for action in plan.actions:
            await self._do(action, doing)
        await self._tell_shrunk(item, step, observed, doing)
        if not any(_owners_need(each, cluster) for each in doing.changed | doing.failed):
            await self._advance(item, step, doing)
            step, _ = self._owners_step(key, cluster, observed)
        seen = Pass(
            step=step,
            foreign=plan.foreign,
            permissions=tuple(doing.permissions),
            errors=tuple(doing.errors.values()),
            holding=tuple(
                text
                for each, text in doing.errors.items()
                if _owners_need(each, cluster) or each in doing.held_by
            ),
            changed=len(doing.changed),
            troubles=self._troubles(cluster),
        )
        await self._report(item, desired, observed, seen)
        if doing.errors:
            raise Unavailable("; ".join(doing.errors.values()))
        if doing.again or doing.changed:
            return 1.0
        return RETRY_DRAIN_SECONDS if self._has_failed_drain(key) else None

    def _running(self, name: str) -> set[str]:
        """Namespaces with pods, or what makes them, of a cluster of this name."""
        made = {INSTANCE_LABEL: name, MANAGED_BY_LABEL: MANAGED_BY}
        kinds = (STATEFUL_SETS, PODS)
        return {
            item["metadata"]["namespace"] for kind in kinds for item in self._mirrors.items(kind, None, made)
        }

    def _troubles(self, cluster: Cluster) -> dict[Key, str]:
        """StatefulSet -> what keeps a pod of it from being ready."""
        found = {}
        for component in (METADATA, OWNER, GATEWAY, ETCD):
            pods = self._mirrors.items(PODS, cluster.namespace, selector(cluster, component))
            found[Key(STATEFUL_SETS.kind, cluster.namespace, f"{cluster.name}-{component}")] = trouble(pods)
        return found

    def _gateways(self, cluster: Cluster, observed: Mapping[Key, Object]) -> int:
        """How many there are, those that leave included; unseen, those that have a Service."""
        name = f"{cluster.name}-{GATEWAY}"
        seen = observed.get(Key(STATEFUL_SETS.kind, cluster.namespace, name))
        if seen is None or self._mirrors.missing(PODS.kind, cluster.namespace) is not None:
            return sum(key.kind == SERVICES.kind and key.name.startswith(f"{name}-") for key in observed)
        pods = self._mirrors.items(PODS, cluster.namespace, selector(cluster, GATEWAY))
        made = (pod for pod in pods if controller_of(pod) == seen["metadata"]["uid"])
        return max((ordinal_of(pod) + 1 for pod in made), default=0)

    def _owners_step(
        self, key: Key, cluster: Cluster, observed: Mapping[Key, Object]
    ) -> tuple[Step, int | None]:
        """The owners' next step, and how many replicas are held while some are still to be drained."""
        seen = observed.get(Key(STATEFUL_SETS.kind, cluster.namespace, f"{cluster.name}-{OWNER}"))
        if seen is None or not may_change(seen, name=cluster.name, uid=cluster.uid):
            return Idle(), None
        pods = list(self._mirrors.items(PODS, cluster.namespace, selector(cluster, OWNER)))
        owners = owners_of(seen, pods)
        drains = self._drains.setdefault(key, {})
        self._forget_old(drains, {pod.life for pod in owners.pods})
        asked = cluster.spec.owner
        replicas = None if asked.autoscaling else asked.replicas
        unseen = self._mirrors.missing(PODS.kind, cluster.namespace)
        step = (
            Wait(why=f"the operator may not {unseen}")
            if unseen
            else next_step(owners, replicas=replicas, drains=drains)
        )
        leaving = replicas is not None and replicas < owners.replicas
        return step, owners.replicas if leaving and not isinstance(step, Shrink) else None

    def _forget_old(self, drains: dict[Life, Drained | DrainFailed], alive: set[Life]) -> None:
        """Lives that are over, and failures that are old enough to try again."""
        now = trio.current_time()
        for life, outcome in list(drains.items()):
            old = isinstance(outcome, DrainFailed) and now - self._failed_at[life] >= RETRY_DRAIN_SECONDS
            if life not in alive or old:
                del drains[life]
                self._failed_at.pop(life, None)

    def _has_failed_drain(self, key: Key) -> bool:
        return any(isinstance(each, DrainFailed) for each in self._drains.get(key, {}).values())

    async def _observe(self, cluster: Cluster, desired: Sequence[Object], doing: _Doing) -> dict[Key, Object]:
        """What the mirrors have, and by name what they may not list or what has no label of ours."""
        labels = {INSTANCE_LABEL: cluster.name}
        observed = {
            key_of(item): item
            for kind in MADE
            for item in self._mirrors.items(kind, cluster.namespace, labels)
        }
        wanted = [key_of(item) for item in desired]
        for key in dict.fromkeys((*wanted, *self._unlisted_autoscalers(cluster))):
            if key not in observed:
                try:
                    observed[key] = await self._kube.get(key)
                except NotFound:
                    continue
                except KafscaleError as error:
                    if key in wanted or not isinstance(error, Forbidden):
                        doing.fail(error, key)
        return observed

    def _unlisted_autoscalers(self, cluster: Cluster) -> list[Key]:
        """One that is there sets the count again, wanted or not."""
        if self._mirrors.missing(AUTOSCALERS.kind, cluster.namespace) is None:
            return []
        names = (f"{cluster.name}-{component}" for component in (GATEWAY, OWNER, METADATA))
        return [Key(AUTOSCALERS.kind, cluster.namespace, name) for name in names]

    def _note_unseen(self, cluster: Cluster, desired: Sequence[Object], doing: _Doing) -> None:
        kinds = {item["kind"] for item in desired} | {PODS.kind}
        for kind in sorted(kinds):
            missing = self._mirrors.missing(kind, cluster.namespace)
            if missing is not None:
                doing.permissions.append(missing)

    async def _do(self, action: Action, doing: _Doing) -> None:
        without = (doing.failed | doing.foreign).intersection(action.after)
        if without:
            doing.held_by |= without
            return
        try:
            if isinstance(action, Apply):
                await self._kube.apply(action.item, manager=action.manager)
            else:
                await self._kube.delete(action.key, uid=action.uid)
        except NotFound as error:
            if isinstance(action, Apply):
                doing.fail(error, action.key)  # the kind is not installed, or the namespace is gone
        except KafscaleError as error:
            doing.fail(error, action.key)
        else:
            doing.changed.add(action.key)
            log.info("object_changed", object=str(action.key), applied=isinstance(action, Apply))

    async def _tell_shrunk(
        self, item: Object, step: Step, observed: Mapping[Key, Object], doing: _Doing
    ) -> None:
        metadata = item["metadata"]
        key = Key(STATEFUL_SETS.kind, metadata["namespace"], f"{metadata['name']}-{OWNER}")
        if isinstance(step, Shrink) and key in doing.changed:
            before = observed[key]["spec"]["replicas"]
            await self._reporter.event(item, "OwnersScaledDown", f"{before} to {step.replicas}")

    async def _advance(self, item: Object, step: Step, doing: _Doing) -> None:
        if not isinstance(step, Drain | Restart):
            return  # a Shrink is in what was rendered
        pod = Key(PODS.kind, item["metadata"]["namespace"], step.pod.name)
        try:
            if isinstance(step, Drain):
                await self._drain(item, pod, step, doing)
            else:
                await self._kube.delete(pod, uid=step.pod.life.uid)
                self.restarts_total += 1
                log.info("owner_restarted", pod=pod.name)
                await self._reporter.event(item, "OwnerRestarted", pod.name)
        except NotFound:
            pass  # it went by itself
        except KafscaleError as error:
            doing.fail(error, pod)

    async def _drain(self, item: Object, key: Key, step: Drain, doing: _Doing) -> None:
        pod = step.pod
        if not pod.told_to_drain:
            told = {TOLD_TO_DRAIN: str(pod.life.restarts)}
            mark = {"resourceVersion": pod.version, "annotations": told}
            await self._kube.merge(key, {"metadata": mark})
            await self._reporter.event(item, "OwnerDraining", f"{pod.name}: {step.reason}")
        address = f"[{pod.ip}]:{ADMIN_PORT}" if ":" in pod.ip else f"{pod.ip}:{ADMIN_PORT}"
        outcome = await self._drainer.drain(address, reason=step.reason)
        self._drains[key_of(item)][pod.life] = outcome
        self.drains_total["done" if isinstance(outcome, Drained) else "failed"] += 1
        log.info("owner_drained", pod=pod.name, outcome=outcome)
        if isinstance(outcome, DrainFailed):
            self._failed_at[pod.life] = trio.current_time()
            if outcome.refused and not pod.told_to_drain:
                await self._kube.merge(key, {"metadata": {"annotations": {TOLD_TO_DRAIN: None}}})
        else:
            doing.again = True
            await self._reporter.event(item, "OwnerDrained", pod.name)

    async def _report(
        self, item: Object, desired: Sequence[Object], observed: Mapping[Key, Object], seen: Pass
    ) -> None:
        said = conditions(desired, observed, seen)
        status = cluster_status(item, said, desired, observed, now_ms=self._reporter.now_ms)
        await self._reporter.report(item, status, said)
