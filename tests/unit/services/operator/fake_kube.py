"""A fake API server in memory: services.operator.kube.Kube without HTTP, and what its controllers would do.

Owns: resource versions, watches, server-side apply by leaf fields with their managers, finalizers, garbage
collection, failures on demand (403, 409, 410, an outage). It is no API server: it validates nothing, has no
defaults but a few that stand for all, and its managedFields tell of spec.replicas alone.
"""

import copy
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import trio

from libs.model.errors import Fenced, Invalid, NotFound, Reason, Unavailable
from services.operator.kinds import BY_KIND, PODS, STATEFUL_SETS, Key, Kind, Object, key_of, labels_of
from services.operator.kube import MANAGER, Expired, Forbidden, Listed, WatchEvent

Path = tuple[Any, ...]
_LIST_KEYS = ("name", "containerPort", "port", "mountPath", "topologyKey", "type", "uid")
_IDENTITY = (("apiVersion",), ("kind",), ("metadata", "name"), ("metadata", "namespace"))
_REPLICAS: Path = ("spec", "replicas")


def flatten(value: Any, path: Path = ()) -> dict[Path, Any]:
    """Leaves by path; items of a list with a key are found by it, other lists are leaves."""
    if isinstance(value, Mapping) and value:
        return {
            leaf: each for key, inner in value.items() for leaf, each in flatten(inner, (*path, key)).items()
        }
    if isinstance(value, list) and value and all(isinstance(each, Mapping) for each in value):
        key = next((key for key in _LIST_KEYS if all(key in each for each in value)), None)
        if key is not None and len({each[key] for each in value}) == len(value):
            return {
                leaf: each
                for item in value
                for leaf, each in flatten(item, (*path, (key, item[key]))).items()
            }
    return {path: copy.deepcopy(value)}


def unflatten(leaves: Mapping[Path, Any]) -> Any:
    root: dict[Any, Any] = {}
    for path, value in leaves.items():
        at = root
        for part in path[:-1]:
            at = at.setdefault(part, {})
        at[path[-1]] = value
    return _listed(root)


def _listed(value: Any) -> Any:
    if not isinstance(value, dict):
        return copy.deepcopy(value)
    if value and all(isinstance(key, tuple) for key in value):
        return [_listed(each) for each in value.values()]
    return {key: _listed(each) for key, each in value.items()}


@dataclass(slots=True)
class _Stored:
    leaves: dict[Path, Any]
    owners: dict[tuple[str, str], set[Path]]
    """Fields by manager and subresource."""


class FakeKube:
    def __init__(self) -> None:
        self.forbidden: set[str] = set()
        """`verb plural` that are refused."""
        self.absent: set[str] = set()
        """`verb plural` that meet a 404, as where the kind is not installed."""
        self.down = False
        self.conflicts = 0
        """So many of the next writes meet a 409."""
        self.writes: list[tuple[str, Key]] = []
        self.lists: list[str] = []
        self._stored: dict[Key, _Stored] = {}
        self._version = 100
        self._oldest = 0
        self._log: list[tuple[int, str, Object]] = []
        self._news = trio.Event()
        self._streams = 0

    # What a test does to it.

    def objects(self, kind: Kind | None = None) -> dict[Key, Object]:
        return {key: self._object(key) for key in self._stored if kind in (None, BY_KIND[key.kind])}

    def find(self, kind: Kind, name: str, namespace: str = "default") -> Object:
        return self._object(Key(kind.kind, namespace, name))

    def put(self, item: Object, *, manager: str = "kubectl", subresource: str = "") -> Object:
        """A client-side write of the whole object, by anybody."""
        key = key_of(item)
        if key not in self._stored:
            return self._add(item, manager, subresource)
        stored = self._stored[key]
        kept = {path: value for path, value in stored.leaves.items() if _is_servers(path)}
        wanted = {path: value for path, value in flatten(item).items() if not _is_servers(path)}
        changed = {path for path, value in wanted.items() if stored.leaves.get(path, object()) != value}
        for owned in stored.owners.values():
            owned.intersection_update(set(wanted) - changed)
        stored.owners.setdefault((manager, subresource), set()).update(changed)
        return self._store(key, {**kept, **wanted})

    def change(self, key: Key, change: Callable[[Object], None], *, manager: str = "kubectl") -> Object:
        item = self._object(key)
        change(item)
        return self.put(item, manager=manager)

    def remove(self, key: Key) -> None:
        """As if it had been deleted, finalizers or not."""
        if key in self._stored:
            self._drop(key)

    def compact(self) -> None:
        """Forgets its history and ends all watches: their versions are too old now."""
        self._oldest = self._version = self._version + 1
        self.break_watches()

    def break_watches(self) -> None:
        self._streams += 1
        self._wake()

    # services.operator.kube.Kube

    async def list(self, kind: Kind, namespace: str | None, *, selector: str = "") -> Listed:
        await self._enter("list", kind)
        self.lists.append(kind.kind)
        wanted = dict(pair.split("=") for pair in selector.split(",") if pair)
        items = [
            item
            for key, item in self.objects(kind).items()
            if namespace in (None, key.namespace) and wanted.items() <= labels_of(item).items()
        ]
        return Listed(items=tuple(items), resource_version=str(self._version))

    @asynccontextmanager
    async def watch(
        self, kind: Kind, namespace: str | None, *, resource_version: str, selector: str = ""
    ) -> AsyncIterator[AsyncIterator[WatchEvent]]:
        await self._enter("watch", kind)
        yield self._events(kind, namespace, int(resource_version), selector)

    async def _events(
        self, kind: Kind, namespace: str | None, version: int, selector: str
    ) -> AsyncIterator[WatchEvent]:
        wanted = dict(pair.split("=") for pair in selector.split(",") if pair)
        stream = self._streams
        while True:
            if version < self._oldest:
                raise Expired("too old resource version")
            if self.down:
                raise Unavailable("the API server went away")
            news = self._news
            for number, type_, item in [each for each in self._log if each[0] > version]:
                version = number
                fits = item["kind"] == kind.kind and namespace in (None, item["metadata"]["namespace"])
                if fits and wanted.items() <= labels_of(item).items():
                    yield WatchEvent(type=type_, item=copy.deepcopy(item))  # type: ignore[arg-type]
            if stream != self._streams:
                return
            await news.wait()

    async def get(self, key: Key) -> Object:
        await self._enter("get", BY_KIND[key.kind])
        return self._object(key)

    async def apply(self, item: Object, *, manager: str = MANAGER, subresource: str = "") -> Object:
        key = key_of(item)
        await self._write("patch", key)
        self._guard(key, item)
        if key not in self._stored:
            if subresource:
                raise NotFound(f"{key} not found")
            return self._add(item, manager, "")
        stored = self._stored[key]
        status = subresource == "status"
        wanted = {
            path: value
            for path, value in flatten(item).items()
            if not _is_servers(path) and path not in _IDENTITY and (path[0] == "status") == status
        }
        mine = stored.owners.get((manager, subresource), set())
        others = set().union(*(each for who, each in stored.owners.items() if who != (manager, subresource)))
        gone = {path for path in mine - set(wanted) if path not in others}
        leaves = {path: value for path, value in stored.leaves.items() if path not in gone}
        for who, owned in stored.owners.items():
            if who != (manager, subresource):
                owned -= {path for path, value in wanted.items() if leaves.get(path, value) != value}
        stored.owners[(manager, subresource)] = set(wanted)
        return self._store(key, {**leaves, **wanted})

    async def create(self, item: Object) -> Object:
        await self._write("create", key_of(item))
        if key_of(item) in self._stored:
            raise Fenced(f"{key_of(item)} already exists", reason=Reason.GUARD_FAILED)
        return self._add(item, MANAGER, "")

    async def replace(self, item: Object) -> Object:
        await self._write("update", key_of(item))
        self._guard(key_of(item), item)
        return self.put(item, manager=MANAGER)

    async def merge(self, key: Key, patch: Mapping[str, object]) -> Object:
        await self._write("patch", key)
        item = self._object(key)
        self._guard(key, {**item, "metadata": {**item["metadata"], **patch.get("metadata", {})}})  # type: ignore[dict-item]
        merged: Object = _merged(item, patch)
        if merged["metadata"].get("deletionTimestamp") and not merged["metadata"].get("finalizers"):
            self._drop(key)
            return merged
        return self.put(merged, manager=MANAGER)

    async def delete(self, key: Key, *, uid: str) -> None:
        await self._write("delete", key)
        item = self._object(key)
        if item["metadata"]["uid"] != uid:
            raise Fenced(f"{key} has another uid", reason=Reason.GUARD_FAILED)
        self.delete_now(key)

    def delete_now(self, key: Key) -> None:
        """As `kubectl delete` does: a finalizer holds it."""
        item = self._object(key)
        if item["metadata"].get("finalizers"):
            leaves = {**self._stored[key].leaves, ("metadata", "deletionTimestamp"): "2026-01-01T00:00:00Z"}
            self._store(key, leaves)
        else:
            self._drop(key)

    # Inside.

    async def _enter(self, verb: str, kind: Kind) -> None:
        await trio.lowlevel.checkpoint()
        if self.down:
            raise Unavailable("the API server can't be reached")
        if f"{verb} {kind.plural}" in self.absent:
            raise NotFound("the server could not find the requested resource")
        if f"{verb} {kind.plural}" in self.forbidden:
            raise Forbidden(f"{kind.plural} is forbidden", permission=f"{verb} {kind.plural}")

    async def _write(self, verb: str, key: Key) -> None:
        await self._enter(verb, BY_KIND[key.kind])
        if self.conflicts:
            self.conflicts -= 1
            raise Fenced("the object has been modified", reason=Reason.GUARD_FAILED)
        self.writes.append((verb, key))

    def _guard(self, key: Key, item: Object) -> None:
        for guard, error in (("resourceVersion", Fenced), ("uid", Invalid)):
            asked = item["metadata"].get(guard)
            if asked is not None and (
                key not in self._stored or self._object(key)["metadata"][guard] != asked
            ):
                raise error(f"{key} has another {guard}")

    def _object(self, key: Key) -> Object:
        stored = self._stored.get(key)
        if stored is None:
            raise NotFound(f"{key} not found")
        item: Object = unflatten(stored.leaves)
        managed = [
            {"manager": who, "fieldsV1": {"f:spec": {"f:replicas": {}}} if _REPLICAS in owned else {}}
            for (who, _subresource), owned in stored.owners.items()
        ]
        item["metadata"]["managedFields"] = managed
        return item

    def _add(self, item: Object, manager: str, subresource: str) -> Object:
        key = key_of(item)
        leaves = {
            path: value
            for path, value in flatten(item).items()
            if path[:2] != ("metadata", "resourceVersion")
        }
        self._stored[key] = _Stored(leaves, {(manager, subresource): set(leaves) - set(_IDENTITY)})
        server = {
            ("metadata", "uid"): leaves.get(("metadata", "uid"), f"uid-{self._version}"),
            ("metadata", "creationTimestamp"): f"2026-01-01T00:00:00Z.{self._version}",
            ("metadata", "generation"): 0,
            # What stands for all defaults.
            **({("spec", "revisionHistoryLimit"): 10} if key.kind == STATEFUL_SETS.kind else {}),
        }
        return self._store(key, {**leaves, **server}, added=True)

    def _store(self, key: Key, leaves: dict[Path, Any], *, added: bool = False) -> Object:
        stored = self._stored[key]
        if key.kind == STATEFUL_SETS.kind:
            leaves.setdefault(_REPLICAS, 1)
        if leaves == stored.leaves and not added:
            return self._object(key)
        if _part(leaves, "spec") != _part(stored.leaves, "spec") or added:
            leaves[("metadata", "generation")] = leaves.get(("metadata", "generation"), 0) + 1
        self._version += 1
        leaves[("metadata", "resourceVersion")] = str(self._version)
        stored.leaves = leaves
        return self._tell("ADDED" if added else "MODIFIED", key)

    def _tell(self, type_: str, key: Key) -> Object:
        item = self._object(key)
        self._log.append((self._version, type_, item))
        self._wake()
        return copy.deepcopy(item)

    def _drop(self, key: Key) -> None:
        self._version += 1
        self._stored[key].leaves[("metadata", "resourceVersion")] = str(self._version)
        uid = self._tell("DELETED", key)["metadata"]["uid"]
        del self._stored[key]
        for other, item in self.objects().items():
            if any(each["uid"] == uid for each in item["metadata"].get("ownerReferences") or ()):
                self._drop(other)

    def _wake(self) -> None:
        self._news.set()
        self._news = trio.Event()


def _is_servers(path: Path) -> bool:
    return path[0] == "metadata" and path[1] in (
        *("uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "deletionTimestamp"),
    )


def _part(leaves: Mapping[Path, Any], name: str) -> dict[Path, Any]:
    return {path: value for path, value in leaves.items() if path[0] == name}


def _merged(item: Any, patch: Any) -> Any:
    if not isinstance(patch, Mapping):
        return copy.deepcopy(patch)
    result = dict(item) if isinstance(item, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merged(result.get(key), value)
    return result


class FakeControllers:
    """The StatefulSet controller and the kubelet, one step at a time. OnDelete restarts nothing by itself."""

    def __init__(self, kube: FakeKube) -> None:
        self._kube = kube
        self._made = 0

    def step(self) -> None:
        for key, item in self._kube.objects(STATEFUL_SETS).items():
            self._stateful_set(key, item)

    def _stateful_set(self, key: Key, item: Object) -> None:
        revision = self.revision(item)
        replicas = item["spec"]["replicas"]
        pods = self.pods(item)
        if item["spec"]["updateStrategy"]["type"] == "RollingUpdate":
            for pod in pods:
                if pod["metadata"]["labels"]["controller-revision-hash"] != revision:
                    self._kube.remove(key_of(pod))
        names = {pod["metadata"]["name"] for pod in self.pods(item)}
        for index in range(replicas):
            if f"{key.name}-{index}" not in names:
                self._add_pod(key, item, index, revision)
        for pod in self.pods(item):
            if int(pod["metadata"]["name"].rpartition("-")[2]) >= replicas:
                self._kube.remove(key_of(pod))
        ready = sum(_is_ready(pod) for pod in self.pods(item))
        status = {
            "observedGeneration": item["metadata"]["generation"],
            "updateRevision": revision,
            "readyReplicas": ready,
        }

        def change(seen: Object) -> None:
            seen["status"] = status

        self._kube.change(key, change, manager="controller")

    def pods(self, stateful_set: Object) -> list[Object]:
        uid = stateful_set["metadata"]["uid"]
        return [
            pod
            for pod in self._kube.objects(PODS).values()
            if any(each["uid"] == uid for each in pod["metadata"]["ownerReferences"])
        ]

    def revision(self, stateful_set: Object) -> str:
        text = json.dumps(stateful_set["spec"]["template"], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:10]

    def _add_pod(self, key: Key, item: Object, index: int, revision: str) -> None:
        self._made += 1
        template = item["spec"]["template"]
        labels = {**template["metadata"]["labels"], "controller-revision-hash": revision}
        running = {"started": True, "restartCount": 0}
        self._kube.put(
            {
                "apiVersion": "v1",
                "kind": PODS.kind,
                "metadata": {
                    "name": f"{key.name}-{index}",
                    "namespace": key.namespace,
                    "uid": f"pod-{self._made}",
                    "labels": labels,
                    "ownerReferences": [
                        {"kind": item["kind"], "uid": item["metadata"]["uid"], "controller": True}
                    ],
                },
                "status": {
                    "podIP": f"10.0.0.{self._made}",
                    "conditions": [{"type": "Ready", "status": "True"}],
                    "containerStatuses": [
                        {"name": each["name"], **running} for each in template["spec"]["containers"]
                    ],
                },
            },
            manager="controller",
        )


def _is_ready(pod: Object) -> bool:
    return any(each["type"] == "Ready" and each["status"] == "True" for each in pod["status"]["conditions"])
