"""Everything that a test of this folder stands on: control plane, nodes, stores, helm and kubectl.

Owns: starting and ending it, commands, small questions to the API. Does not own: what is deployed.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.api import APPLY, ApiError, Object, checked
from tests.e2e.control_plane import ControlPlane, running_control_plane, wait_until
from tests.e2e.network import HOST_IP
from tests.e2e.node.agent import Settings
from tests.e2e.setup import Setup
from tests.e2e.usage_api import OBJECTS, USAGE_PORT
from tools.servers import Etcd, Minio, etcd_server, minio_server
from tools.toolchain import tool_path

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "kafscale"
SAMPLES = ROOT / "charts" / "samples"
NODES = {"node-0": "zone-a", "node-1": "zone-b", "node-2": "zone-c"}
S3_ENDPOINT = f"http://{HOST_IP}:9000"
ETCD_ENDPOINT = f"http://{HOST_IP}:2379"
S3_SECRET = "kafscale-s3"
COMMAND_SECONDS_MAX = 300.0
READY_SECONDS_MAX = 180.0


@dataclass(slots=True)
class World:
    plane: ControlPlane
    client: httpx.Client
    minio: Minio
    etcd: Etcd
    folder: Path
    agent: "subprocess.Popen[bytes]"

    # The API.

    def call(
        self, method: str, path: str, body: object = None, *, content_type: str = "", **query: str
    ) -> Object:
        """Raises ApiError."""
        headers = {"Content-Type": content_type or "application/json"}
        content = None if body is None else json.dumps(body)
        return checked(self.client.request(method, path, content=content, headers=headers, params=query))

    def get(self, path: str) -> Object | None:
        """None where it is not there."""
        try:
            return self.call("GET", path)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def listed(self, path: str, selector: str = "") -> list[Object]:
        found: list[Object] = self.call("GET", path, labelSelector=selector)["items"]
        return found

    def apply(self, path: str, item: Object) -> Object:
        """Server-side apply by another manager than the operator, as a person with kubectl is."""
        query = {"fieldManager": "person", "force": "true"}
        return self.call("PATCH", path, item, content_type=APPLY, **query)

    def pods(self, namespace: str, component: str, instance: str = "") -> list[Object]:
        """Those that are not going, by name."""
        labels = f"app.kubernetes.io/component={component}"
        if instance:
            labels += f",app.kubernetes.io/instance={instance}"
        found = self.listed(f"/api/v1/namespaces/{namespace}/pods", labels)
        living = [pod for pod in found if not pod["metadata"].get("deletionTimestamp")]
        return sorted(living, key=lambda pod: str(pod["metadata"]["name"]))

    def wait_condition(
        self, path: str, kind: str, status: str = "True", *, seconds_max: float = READY_SECONDS_MAX
    ) -> Object:
        """The condition, once it is so about the newest spec."""

        def look() -> Object | None:
            item = self.get(path) or {"metadata": {}, "status": {}}
            for each in item.get("status", {}).get("conditions") or ():
                if each["type"] == kind:
                    told.append(each)
                    current = each.get("observedGeneration", 0) >= item["metadata"]["generation"]
                    if each["status"] == status and current:
                        return dict(each)
            return None

        told: list[Object] = []
        try:
            wait_until(look, f"{kind} of {path} is {status}", seconds_max=seconds_max)
        except AssertionError as error:
            raise AssertionError(f"{error}; it was {told[-1:]}") from error
        return told[-1]

    # Commands.

    def helm(self, *arguments: str) -> str:
        return self._run("helm", *arguments)

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        return self._run("kubectl", *arguments, stdin=stdin)

    def tool(self, program: str, *arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        """Does not raise on a non-zero exit."""
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "KUBECONFIG": str(self.plane.kubeconfig),
        }
        command = [str(tool_path(program)), *arguments]
        return subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            env=environment,
            timeout=COMMAND_SECONDS_MAX,
        )

    def _run(self, program: str, *arguments: str, stdin: str = "") -> str:
        done = self.tool(program, *arguments, stdin=stdin)
        assert done.returncode == 0, f"{program} {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    # What a cluster needs.

    def add_namespace(self, namespace: str) -> None:
        """One that takes pods of the strictest standard only; nothing where it is there."""
        if self.get(f"/api/v1/namespaces/{namespace}") is None:
            labels = {"pod-security.kubernetes.io/enforce": "restricted"}
            self.call("POST", "/api/v1/namespaces", {"metadata": {"name": namespace, "labels": labels}})

    def make_namespace(self, namespace: str, bucket: str) -> None:
        """With the secret of the object store, and a bucket."""
        self.add_namespace(namespace)
        self.minio.create_bucket(bucket)
        keys = {
            "KAFSCALE_S3_ACCESS_KEY": self.minio.access_key,
            "KAFSCALE_S3_SECRET_KEY": self.minio.secret_key,
        }
        secret = {"metadata": {"name": S3_SECRET}, "stringData": keys}
        self.call("POST", f"/api/v1/namespaces/{namespace}/secrets", secret)

    def logs(self, namespace: str) -> str:
        """The ends of its containers' logs, for a failure's message."""
        found = sorted((self.folder / "agent" / "logs").glob(f"{namespace}.*.log"))
        return "\n".join(f"== {path.name}\n{path.read_text(errors='replace')[-1500:]}" for path in found)


@contextmanager
def open_world(setup: Setup) -> Iterator[World]:
    folder = Path(setup.folder)
    with ExitStack() as stack:
        cluster_etcd = stack.enter_context(etcd_server(fsync=False))
        data_etcd = stack.enter_context(etcd_server(fsync=False))
        minio = stack.enter_context(minio_server())
        plane = stack.enter_context(running_control_plane(folder / "plane", cluster_etcd))
        client = stack.enter_context(plane.access.client())
        forwards = {
            S3_ENDPOINT.removeprefix("http://"): minio.address,
            ETCD_ENDPOINT.removeprefix("http://"): data_etcd.address,
        }
        agent = stack.enter_context(_running_agent(plane, folder / "agent", setup.images, forwards))
        world = World(plane, client, minio, data_etcd, folder, agent)
        for path, item in OBJECTS:
            world.call("POST", path, item)
        wait_until(lambda: len(_ready_nodes(world)) == len(NODES), "nodes are ready", seconds_max=60)
        yield world


def _ready_nodes(world: World) -> list[Object]:
    return [
        node
        for node in world.listed("/api/v1/nodes")
        if not node["spec"].get("taints")
        and any(
            each["type"] == "Ready" and each["status"] == "True"
            for each in node["status"].get("conditions") or ()
        )
    ]


@contextmanager
def _running_agent(
    plane: ControlPlane,
    folder: Path,
    images: Mapping[str, Mapping[str, Any]],
    forwards: Mapping[str, str],
) -> Iterator["subprocess.Popen[bytes]"]:
    folder.mkdir()
    settings = Settings(
        nodes=NODES,
        images=images,
        forwards=forwards,
        folder=str(folder),
        usage_port=USAGE_PORT,
        certificate=str(plane.files / "server.pem"),
    )
    (folder / "settings.json").write_text(json.dumps(asdict(settings)))
    plane.access.save(folder / "access.json")
    command = _agent_command(folder)
    with (folder / "agent.log").open("wb") as log:
        agent = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT)
    try:
        yield agent
        assert agent.poll() is None, (folder / "agent.log").read_text()[-4000:]
    finally:
        agent.kill()
        agent.wait()


def _agent_command(folder: Path) -> Sequence[str]:
    files = ("--access", str(folder / "access.json"), "--settings", str(folder / "settings.json"))
    return (sys.executable, "-m", "tests.e2e.node", *files)
