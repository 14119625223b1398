"""The node agent: runs pods of its nodes as local processes, serves Services, names and usage.

Owns: nodes and their leases, which pods run here, claims, what the parts are told.
Does not own: the parts.
Rule: 1 as kubelet, proxy, DNS, metrics server and a cloud's balancers together; controllers and scheduler are
the real ones.
"""

import datetime
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import structlog
import trio

from tests.e2e.api import MERGE, ApiError, Mirror, Name, Object, call, name_of
from tests.e2e.network import HOST_IP
from tests.e2e.node import own_metrics, usage
from tests.e2e.node.balancers import Balancers, host_names
from tests.e2e.node.container import Image
from tests.e2e.node.names import Dns, records, resolv_conf
from tests.e2e.node.pods import Pod, Tools
from tests.e2e.node.services import Address, Proxy, endpoints_of, service_addresses

_LEASE_SECONDS = 10.0
_LOOK_SECONDS = 5.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the test tells the agent, as JSON."""

    nodes: Mapping[str, str]
    """Node -> zone."""
    images: Mapping[str, Mapping[str, Any]]
    """Repository of an image -> root, env, user, entrypoint, command; any tag of it is the same."""
    forwards: Mapping[str, str]
    """Addresses on the bridge -> addresses in the test's own namespace: stores that are no pods."""
    folder: str
    usage_port: int
    certificate: str

    @classmethod
    def load(cls, path: Path) -> "Settings":
        return cls(**json.loads(path.read_text()))


@dataclass(slots=True)
class Agent:
    client: httpx.AsyncClient
    settings: Settings
    _pods: dict[str, Pod] = field(default_factory=dict)
    _ended: set[str] = field(default_factory=set)
    """Pods that ran to their end here and are not yet told to be gone."""
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)
    _mirrors: dict[str, Mirror] = field(default_factory=dict)
    _dirty: trio.Event = field(default_factory=trio.Event)
    _dns: Dns = field(default_factory=Dns)
    _balancers: Balancers = field(default_factory=Balancers)
    _meter: usage.Meter = field(default_factory=usage.Meter)
    _own_metrics: own_metrics.OwnMetrics = field(default_factory=own_metrics.OwnMetrics)

    async def run(self) -> None:
        """For ever."""
        async with trio.open_nursery() as nursery:
            for node, zone in self.settings.nodes.items():
                nursery.start_soon(self._keep_node, node, zone)
            for plural in ("configmaps", "secrets", "services"):
                self._follow(nursery, plural, f"/api/v1/{plural}")
            self._follow(nursery, "endpointslices", "/apis/discovery.k8s.io/v1/endpointslices")
            self._follow(nursery, "persistentvolumeclaims", "/api/v1/persistentvolumeclaims")
            for mirror in self._mirrors.values():
                await mirror.listed.wait()
            probe_client = await nursery.start(self._hold_probe_client)
            tools = self._tools(probe_client)
            pods = Mirror(
                self.client, "/api/v1/pods", lambda item, gone: self._on_pod(item, gone, nursery, tools)
            )
            nursery.start_soon(pods.run)
            nursery.start_soon(self._dns.run)
            nursery.start_soon(self._serve_services)
            nursery.start_soon(self._balancers.tell, self.client, self._mirrors["services"].items)
            nursery.start_soon(self._bind_claims)
            for outer, inner in self.settings.forwards.items():
                nursery.start_soon(_forward, outer, inner)
            apis = {usage.ROOT: self._meter.answer, own_metrics.ROOT: self._own_metrics.answer}
            address = (HOST_IP, self.settings.usage_port)
            usage.serve(apis, self._logs, address, Path(self.settings.certificate))
            nursery.start_soon(self._measure)

    def _follow(self, nursery: trio.Nursery, plural: str, path: str) -> None:
        self._mirrors[plural] = Mirror(self.client, path, lambda _item, _gone: self._dirty.set())
        nursery.start_soon(self._mirrors[plural].run)

    @staticmethod
    async def _hold_probe_client(*, task_status: trio.TaskStatus[httpx.AsyncClient]) -> None:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        async with httpx.AsyncClient(trust_env=False, limits=limits) as client:
            task_status.started(client)
            await trio.sleep_forever()

    def _tools(self, probe_client: httpx.AsyncClient) -> Tools:
        folder = Path(self.settings.folder)
        return Tools(
            client=self.client,
            probe_client=probe_client,
            folder=folder / "pods",
            claims=folder / "claims",
            resolv_conf=self._resolv_conf,
            lookup=lambda plural, name: self._mirrors[plural].items.get(name),
            services=lambda: list(self._mirrors["services"].items.values()),
            new_token=self._new_token,
            image=self._image,
        )

    def _resolv_conf(self, namespace: str) -> Path:
        path = Path(self.settings.folder) / f"resolv.conf.{namespace}"
        if not path.exists():
            path.write_text(resolv_conf(namespace))
        return path

    def _image(self, name: str) -> Image | None:
        repository = name.partition("@")[0].rpartition(":")[0] or name
        known = self.settings.images.get(repository)
        if known is None:
            return None
        return Image(
            root=Path(known["root"]),
            env=known["env"],
            user=known["user"],
            entrypoint=known["entrypoint"],
            command=known["command"],
        )

    async def _new_token(self, pod: Object, asked: Mapping[str, Any]) -> str:
        metadata = pod["metadata"]
        account = pod["spec"].get("serviceAccountName", "default")
        reference = {"kind": "Pod", "apiVersion": "v1", "name": metadata["name"], "uid": metadata["uid"]}
        spec = {
            "audiences": [asked["audience"]] if asked.get("audience") else [],
            "expirationSeconds": asked.get("expirationSeconds", 3607),
            "boundObjectRef": reference,
        }
        path = f"/api/v1/namespaces/{metadata['namespace']}/serviceaccounts/{account}/token"
        answer = await call(self.client, "POST", path, {"spec": spec})
        return str(answer["status"]["token"])

    # Pods.

    def _on_pod(self, item: Object, gone: bool, nursery: trio.Nursery, tools: Tools) -> None:
        uid = item["metadata"]["uid"]
        if item["spec"].get("nodeName") not in self.settings.nodes:
            return
        pod = self._pods.get(uid)
        if gone:
            self._ended.discard(uid)
            if pod is not None:
                pod.vanish()
        elif uid in self._ended:
            pass  # what was on its way when it was deleted
        elif pod is not None:
            pod.update(item)
        elif (item.get("status") or {}).get("phase") not in ("Succeeded", "Failed") or item["metadata"].get(
            "deletionTimestamp"
        ):
            pod = self._pods[uid] = Pod(item=item, tools=tools, number=next(self._numbers) % 60_000)
            nursery.start_soon(self._run_pod, uid, pod)

    async def _run_pod(self, uid: str, pod: Pod) -> None:
        log.info("pod_begins", pod=pod.name)
        try:
            await pod.run()
        finally:
            del self._pods[uid]
            if not pod.gone:
                self._ended.add(uid)
        log.info("pod_ended", pod=pod.name)

    async def _measure(self) -> None:
        while True:
            running = [
                (name_of(pod.item), pod.item["metadata"].get("labels") or {}, pod.pids_by_container())
                for pod in self._pods.values()
            ]
            await trio.to_thread.run_sync(self._meter.look, running)
            reachable = [
                (name_of(pod.item), pod.item["metadata"].get("labels") or {}, pod.network.ip)
                for pod in self._pods.values()
                if pod.network is not None and any(each.ready for each in pod.containers)
            ]
            await trio.to_thread.run_sync(self._own_metrics.look, reachable)
            await trio.sleep(_LOOK_SECONDS)

    def _logs(self, target: str) -> bytes:
        """A container's log: /containerLogs/NAMESPACE/POD/CONTAINER?tailLines=N, as kubectl logs asks."""
        split = urlsplit(target)
        namespace, name, container = split.path.split("/")[2:5]
        lines: list[bytes] = []
        for pod in list(self._pods.values()):
            if name_of(pod.item) == (namespace, name) and pod.log_of(container).exists():
                lines = pod.log_of(container).read_bytes().splitlines(keepends=True)
        wanted = int(parse_qs(split.query).get("tailLines", [str(len(lines))])[0])
        return b"".join(lines[len(lines) - min(wanted, len(lines)) :])

    # Nodes.

    async def _keep_node(self, node: str, zone: str) -> None:
        labels = {"kubernetes.io/hostname": node, "topology.kubernetes.io/zone": zone}
        item = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node, "labels": labels}}
        await self._until_done("POST", "/api/v1/nodes", item)
        status = {"status": _node_status(self.settings.usage_port)}
        await self._until_done("PATCH", f"/api/v1/nodes/{node}/status", status, MERGE)
        leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
        name = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": node}}
        spec = {"holderIdentity": node, "leaseDurationSeconds": 40}
        await self._until_done("POST", leases, {**name, "spec": spec})
        while True:
            renewed = {"spec": {**spec, "renewTime": _now_micro()}}
            await self._until_done("PATCH", f"{leases}/{node}", renewed, MERGE)
            await trio.sleep(_LEASE_SECONDS)

    async def _until_done(self, method: str, path: str, body: Object, content_type: str = "") -> None:
        while True:
            try:
                await call(self.client, method, path, body, content_type=content_type)
                return
            except ApiError as error:
                if error.status == 409:
                    return
                log.info("refused", path=path, error=str(error))
            except httpx.TransportError:
                pass
            await trio.sleep(0.5)

    # Claims.

    async def _bind_claims(self) -> None:
        """Each claim gets a volume of its own, which is a folder here."""
        made: set[Name] = set()
        while True:
            for name, claim in list(self._mirrors["persistentvolumeclaims"].items.items()):
                if name not in made and not claim["spec"].get("volumeName"):
                    made.add(name)
                    await self._until_done("POST", "/api/v1/persistentvolumes", _volume_for(claim))
            await trio.sleep(0.2)

    # Services.

    async def _serve_services(self) -> None:
        send, receive = trio.open_memory_channel[Mapping[Address, list[tuple[str, int]]]](1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Proxy().run, receive)
            while True:
                self._dirty = trio.Event()
                services = self._mirrors["services"].items.values()
                slices = endpoints_of(self._mirrors["endpointslices"].items.values())
                balancers = self._balancers.addresses(services)
                self._dns.records = records(services, slices) | host_names(services, balancers)
                await send.send(service_addresses(services, slices, balancers))
                await self._dirty.wait()


async def _forward(outer: str, inner: str) -> None:
    host, _, port = outer.rpartition(":")
    to_host, _, to_port = inner.rpartition(":")
    proxy = Proxy()
    address = Address(host, int(port))
    proxy.fix(address, [(to_host, int(to_port))])
    await proxy.serve(address)


def _volume_for(claim: Object) -> Object:
    metadata, spec = claim["metadata"], claim["spec"]
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"folder-{metadata['namespace']}-{metadata['name']}"},
        "spec": {
            "capacity": {"storage": spec["resources"]["requests"]["storage"]},
            "accessModes": spec["accessModes"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": spec.get("storageClassName") or "",
            "hostPath": {"path": f"/claims/{metadata['namespace']}/{metadata['name']}"},
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "uid": metadata["uid"],
            },
        },
    }


def _node_status(port: int) -> Object:
    # More than there is: what pods ask for is sized for servers, and nothing here is held to it.
    amounts = {"cpu": "64", "memory": "256Gi", "pods": "200", "ephemeral-storage": "1Ti"}
    conditions = {"Ready": True, "MemoryPressure": False, "DiskPressure": False, "PIDPressure": False}
    now = _now_micro()[:19] + "Z"
    return {
        "capacity": amounts,
        "allocatable": amounts,
        "addresses": [{"type": "InternalIP", "address": HOST_IP}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        "conditions": [
            {
                "type": kind,
                "status": str(value),
                "reason": "Agent",
                "message": "",
                "lastHeartbeatTime": now,
                "lastTransitionTime": now,
            }
            for kind, value in conditions.items()
        ],
        "nodeInfo": {
            "machineID": "",
            "systemUUID": "",
            "bootID": "",
            "kernelVersion": "",
            "osImage": "",
            "containerRuntimeVersion": "process://1",
            "kubeletVersion": "v1.34.2",
            "kubeProxyVersion": "v1.34.2",
            "operatingSystem": "linux",
            "architecture": "amd64",
        },
    }


def _now_micro() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
