"""A pod's life on this node: network, volumes, containers, probes, status, its end.

Owns: one pod from the moment it is scheduled until it is gone. Does not own: which pods there are (agent.py).
Rules: 1 as the kubelet: preStop, SIGTERM, the grace period, SIGKILL, and only then is the object deleted;
2 what is told to the API server is what is so; 3 a pod whose object is gone ends without grace.
"""

import datetime
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import structlog
import trio

from tests.e2e.api import STRATEGIC, ApiError, Object, call
from tests.e2e.network import HOST_IP, PodNetwork
from tests.e2e.node.container import Image, Mount, Process, start
from tests.e2e.node.environment import Lookup, NotYet, environment
from tests.e2e.node.probes import Probe, pre_stop, probe_of
from tests.e2e.node.volumes import NewToken, Volumes

_RETRY_SECONDS = 0.5
_RESTART_SECONDS = (0.0, 2.0, 5.0, 10.0)
"""Before a container is started again; a kubelet waits 10 s, 20 s and so on."""
_LAST_WORDS_LENGTH = 2048
"""Of a log that stands for a container's message, as a kubelet has it."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What a pod needs of its node."""

    client: httpx.AsyncClient
    probe_client: httpx.AsyncClient
    folder: Path
    claims: Path
    resolv_conf: Callable[[str], Path]
    """The namespace's resolv.conf."""
    lookup: Lookup
    services: Callable[[], list[Object]]
    new_token: NewToken
    image: Callable[[str], Image | None]


@dataclass(slots=True)
class Running:
    """A container of the pod."""

    spec: Object
    process: Process | None = None
    started: bool = False
    ready: bool = False
    restarts: int = 0
    started_at: str = ""
    exit_code: int | None = None
    finished_at: str = ""
    waits_for: str = "ContainerCreating"
    waits_why: str = ""
    last_words: str = ""
    """Where its policy says so: the end of its log, once it ended with an error."""
    before: Object = field(default_factory=dict)
    """How the life before this one ended."""

    def status(self) -> Object:
        state: Object
        if self.process is not None:
            state = {"running": {"startedAt": self.started_at}}
        elif self.exit_code is not None:
            state = {"terminated": self._terminated()}
        else:
            state = {"waiting": {"reason": self.waits_for, "message": self.waits_why}}
        return {
            "name": self.spec["name"],
            "image": self.spec["image"],
            "imageID": self.spec["image"],
            "containerID": f"process://{self.process.pid if self.process else 0}",
            "ready": self.ready,
            "started": self.started,
            "restartCount": self.restarts,
            "state": state,
            "lastState": self.before,
        }

    def begin_anew(self) -> None:
        if self.exit_code is not None:
            self.before, self.exit_code = {"terminated": self._terminated()}, None

    def _terminated(self) -> Object:
        return {
            "exitCode": self.exit_code,
            "reason": "Completed" if self.exit_code == 0 else "Error",
            "message": self.last_words,
            "startedAt": self.started_at,
            "finishedAt": self.finished_at,
        }


@dataclass(slots=True)
class Pod:
    """`item` is kept up to date by the agent."""

    item: Object
    tools: Tools
    number: int
    network: PodNetwork | None = None
    containers: list[Running] = field(default_factory=list)
    gone: bool = False
    """The object does not exist any more."""
    _changed: trio.Event = field(default_factory=trio.Event)
    _began: str = ""
    _stopping: bool = False

    @property
    def name(self) -> str:
        return str(self.item["metadata"]["name"])

    @property
    def path(self) -> str:
        return f"/api/v1/namespaces/{self.item['metadata']['namespace']}/pods/{self.name}"

    def pids_by_container(self) -> dict[str, int]:
        return {each.spec["name"]: each.process.pid for each in self.containers if each.process is not None}

    def update(self, item: Object) -> None:
        self.item = item
        self._notify()

    def vanish(self) -> None:
        self.gone = True
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def run(self) -> None:
        """Until the pod is gone."""
        self._began = _now()
        self.containers = [Running(each) for each in self.item["spec"]["containers"]]
        folder = self.tools.folder / str(self.item["metadata"]["uid"])
        folder.mkdir(parents=True)
        self.network = await trio.to_thread.run_sync(PodNetwork.open, self.number)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._run_containers, folder)
                await self._wait_for_end()
                await self._stop()
                nursery.cancel_scope.cancel()
        finally:
            for each in self.containers:
                if each.process is not None:
                    each.process.kill()
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(self.network.close)
        await self._delete()

    async def _wait_for_end(self) -> None:
        while not (self.gone or self.item["metadata"].get("deletionTimestamp")):
            await self._changed.wait()

    # Containers.

    async def _run_containers(self, folder: Path) -> None:
        mounts = await self._volumes(folder)
        async with trio.open_nursery() as nursery:
            for container in self.containers:
                nursery.start_soon(self._keep_running, container, folder, mounts)
        await self._report()
        await trio.sleep_forever()

    async def _volumes(self, folder: Path) -> dict[str, Path]:
        assert self.network is not None
        volumes = Volumes(folder / "volumes", self.tools.claims, self.tools.lookup, self.tools.new_token)
        while True:
            try:
                return await volumes.prepare(self.item, ip=self.network.ip, host_ip=HOST_IP)
            except (NotYet, ApiError, httpx.TransportError) as error:
                log.info("pod_waits", pod=self.name, error=str(error))
                await trio.sleep(_RETRY_SECONDS)

    async def _keep_running(self, container: Running, folder: Path, volumes: Mapping[str, Path]) -> None:
        policy = self.item["spec"].get("restartPolicy", "Always")
        while True:
            process = await self._start(container, folder, volumes)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._probe, container)
                code = await process.wait()
                nursery.cancel_scope.cancel()
            process.kill()
            container.process, container.exit_code = None, code
            container.last_words = self._last_words(container)
            container.ready = container.started = False
            container.finished_at = _now()
            log.info("container_ended", pod=self.name, container=container.spec["name"], code=code)
            await self._report()
            if self._stopping or policy == "Never" or (policy == "OnFailure" and code == 0):
                return
            await trio.sleep(_RESTART_SECONDS[min(container.restarts, len(_RESTART_SECONDS) - 1)])
            container.restarts += 1

    async def _start(self, container: Running, folder: Path, volumes: Mapping[str, Path]) -> Process:
        assert self.network is not None
        while True:
            try:
                image = self.tools.image(container.spec["image"])
                if image is None:
                    container.waits_for = "ErrImagePull"
                    raise NotYet(f"there is no image {container.spec['image']}")
                container.waits_for = "CreateContainerConfigError"
                seen = environment(
                    self.item,
                    container.spec,
                    ip=self.network.ip,
                    host_ip=HOST_IP,
                    lookup=self.tools.lookup,
                    services=self.tools.services(),
                )
                break
            except NotYet as error:
                log.info("container_waits", pod=self.name, error=str(error))
                container.waits_why = str(error)
                container.begin_anew()
                await self._report()
                await trio.sleep(_RETRY_SECONDS)
        namespace = self.item["metadata"]["namespace"]
        mounts = [
            Mount(_below(volumes[each["name"]], each), each["mountPath"], bool(each.get("readOnly")))
            for each in container.spec.get("volumeMounts") or ()
        ]
        mounts.append(Mount(self.tools.resolv_conf(namespace), "/etc/resolv.conf", True))
        container.process = start(
            self.item,
            container.spec,
            image,
            enter_network=self.network.enter,
            folder=folder,
            environment=seen,
            mounts=mounts,
            log=self.log_of(container.spec["name"]),
        )
        container.begin_anew()
        container.started_at = _now()
        container.started = container.ready = False
        await self._report()
        return container.process

    def _last_words(self, container: Running) -> str:
        if not container.exit_code or container.spec.get("terminationMessagePolicy") == "File":
            return ""
        return self.log_of(container.spec["name"]).read_text(errors="replace")[-_LAST_WORDS_LENGTH:]

    def log_of(self, container: str) -> Path:
        metadata = self.item["metadata"]
        folder = self.tools.folder.parent / "logs"
        folder.mkdir(exist_ok=True)
        return folder / f"{metadata['namespace']}.{self.name}.{metadata['uid'][:8]}.{container}.log"

    async def _probe(self, container: Running) -> None:
        assert self.network is not None
        kinds = ("startupProbe", "readinessProbe", "livenessProbe")
        startup, readiness, liveness = (probe_of(container.spec, kind, self.network.ip) for kind in kinds)
        if startup is not None:
            while startup.passed is None:
                await startup.ask(self.tools.probe_client)
                await trio.sleep(startup.period_seconds if startup.passed is None else 0)
            if not startup.passed:
                self._kill_unhealthy(container, "startup")
                return
        container.started = True
        container.ready = readiness is None
        await self._report()
        async with trio.open_nursery() as nursery:
            if readiness is not None:
                nursery.start_soon(self._follow_readiness, container, readiness)
            if liveness is not None:
                nursery.start_soon(self._follow_liveness, container, liveness)

    async def _follow_readiness(self, container: Running, probe: Probe) -> None:
        while True:
            await probe.ask(self.tools.probe_client)
            if probe.passed is not None and container.ready != probe.passed:
                container.ready = probe.passed
                await self._report()
            await trio.sleep(probe.period_seconds)

    async def _follow_liveness(self, container: Running, probe: Probe) -> None:
        while probe.passed is not False:
            await probe.ask(self.tools.probe_client)
            await trio.sleep(probe.period_seconds)
        self._kill_unhealthy(container, "liveness")

    def _kill_unhealthy(self, container: Running, probe: str) -> None:
        log.info("container_unhealthy", pod=self.name, probe=probe)
        if container.process is not None:
            container.process.kill()

    # Its end.

    async def _stop(self) -> None:
        """preStop and SIGTERM within the grace period of the deletion; nothing where the object is gone."""
        self._stopping = True
        if self.gone:
            return
        grace = self.item["metadata"].get("deletionGracePeriodSeconds", 30)
        with trio.move_on_after(grace):
            async with trio.open_nursery() as nursery:
                for container in self.containers:
                    nursery.start_soon(self._stop_one, container)
        await self._report()

    async def _stop_one(self, container: Running) -> None:
        process, network = container.process, self.network
        if process is None or network is None:
            return
        await pre_stop(container.spec, network.ip, network.enter)
        process.signal(signal.SIGTERM)
        await process.wait()

    async def _delete(self) -> None:
        metadata = self.item["metadata"]
        body = {"gracePeriodSeconds": 0, "preconditions": {"uid": metadata["uid"]}}
        while not self.gone:
            try:
                await call(self.tools.client, "DELETE", self.path, body)
                return
            except ApiError as error:
                log.info("pod_not_deleted", pod=self.name, error=str(error))
                if error.status in (404, 409):
                    return
            except httpx.TransportError:
                pass
            await trio.sleep(_RETRY_SECONDS)

    # Status.

    async def _report(self) -> None:
        """Until the API server has it, or the pod is gone."""
        while not self.gone:
            try:
                await call(
                    self.tools.client, "PATCH", f"{self.path}/status", self._status(), content_type=STRATEGIC
                )
                return
            except ApiError as error:
                log.info("status_refused", pod=self.name, error=str(error))
                if error.status == 404:
                    return
            except httpx.TransportError:
                pass
            await trio.sleep(_RETRY_SECONDS)

    def _status(self) -> Object:
        assert self.network is not None
        ready = all(each.ready for each in self.containers)
        conditions = {"Initialized": True, "ContainersReady": ready, "Ready": ready}
        status: dict[str, Any] = {
            "phase": self._phase(),
            "startTime": self._began,
            "hostIP": HOST_IP,
            "podIP": self.network.ip,
            "podIPs": [{"ip": self.network.ip}],
            "conditions": [
                {"type": kind, "status": str(value), "lastTransitionTime": self._since(kind, value)}
                for kind, value in conditions.items()
            ],
            "containerStatuses": [each.status() for each in self.containers],
        }
        return {"metadata": {"uid": self.item["metadata"]["uid"]}, "status": status}

    def _since(self, kind: str, value: bool) -> str:
        """When a condition changed: as it is told already, or now."""
        for each in (self.item.get("status") or {}).get("conditions") or ():
            if each["type"] == kind and each["status"] == str(value) and each.get("lastTransitionTime"):
                return str(each["lastTransitionTime"])
        return _now()

    def _phase(self) -> str:
        policy = self.item["spec"].get("restartPolicy", "Always")
        codes = [each.exit_code for each in self.containers]
        ended = all(code is not None for code in codes)
        if ended and (policy == "Never" or (policy == "OnFailure" and not any(codes)) or self._stopping):
            return "Failed" if any(codes) else "Succeeded"
        began = any(each.process is not None or each.exit_code is not None for each in self.containers)
        return "Running" if began else "Pending"


def _below(volume: Path, mount: Mapping[str, Any]) -> Path:
    return volume / mount["subPath"] if mount.get("subPath") else volume


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
