"""Starts the waves of a stack, keeps `stack.json` true, restarts by name, stops in the opposite order.

Owns: the data directory's `stack.json`, `logs/`, `etcd/`, `minio/`. Does not own: the command line.
"""

import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import boto3
import botocore.config
import trio

from tools.servers import free_ports
from tools.stack.layout import (
    ACCESS_KEY,
    BUCKET,
    METADATA,
    SECRET_KEY,
    SERVICES,
    START_ORDER,
    STORES,
    Ports,
    StackSettings,
    environment_of,
    module_of,
    ports_from,
    ports_of,
    role_of,
)
from tools.stack.processes import Child, StackError
from tools.toolchain import tool_path

ROOT = Path(__file__).resolve().parents[2]
HOST = "127.0.0.1"

Tell = Callable[[str], None]


class Stack:
    """A running stack: children by name, each to be killed, stopped and restarted on its own."""

    def __init__(self, data_dir: Path, settings: StackSettings, tell: Tell) -> None:
        self.data_dir = data_dir
        self.settings = settings
        self._tell = tell
        self._ports = _choose_ports(settings.port_base)
        self.fronts: dict[str, int] = {}
        """The port at which others reach a process, where that is not its own: a proxy's."""
        self.environment: dict[str, dict[str, str]] = {}
        """Variables of single services, by name, on top of all others."""
        self.children = {
            name: Child(name=name, log_path=data_dir / "logs" / f"{name}.log", cwd=ROOT)
            for wave in START_ORDER
            for name in wave
        }

    @property
    def bootstrap(self) -> list[str]:
        """The Kafka addresses of the gateways."""
        return [self.address_of(name) for name in self.children if role_of(name) == "gateway"]

    def port_of(self, name: str) -> int:
        """Where it serves clients (Kafka, S3, etcd's) or other services (RPC); known before it runs."""
        ports = self._ports[name]
        by_role = {"gateway": ports.kafka, "etcd": ports.admin, "minio": ports.admin}
        return by_role.get(role_of(name), ports.rpc)

    @property
    def reserved_ports(self) -> frozenset[int]:
        """Those that its processes listen on, now or when they are started again."""
        return frozenset(
            port for ports in self._ports.values() for port in (ports.kafka, ports.admin, ports.rpc)
        )

    def address_of(self, name: str) -> str:
        """host:port at which others reach it."""
        return f"{HOST}:{self.fronts.get(name, self.port_of(name))}"

    async def start(self) -> None:
        for wave in START_ORDER:
            self._tell(f"starting {', '.join(wave)}")
            async with trio.open_nursery() as nursery:
                for name in wave:
                    nursery.start_soon(self._start, name)
        self.write_json()

    async def restart(self, name: str) -> None:
        """Starts a process again, on the ports that it had; one that still runs is stopped first."""
        child = self.children.get(name)
        if child is None:
            raise StackError(f"there is no {name!r}; there are {', '.join(self.children)}")
        if child.alive:
            await child.stop()
        await self._start(name)
        self.write_json()

    def kill(self, name: str) -> None:
        """kill -9."""
        self.children[name].send(signal.SIGKILL)

    async def stop(self) -> None:
        for wave in reversed(START_ORDER):
            async with trio.open_nursery() as nursery:
                for name in wave:
                    nursery.start_soon(self.children[name].stop)
        (self.data_dir / "stack.json").unlink(missing_ok=True)

    def write_json(self) -> None:
        """Each process's name, pid, ports and log file; replaced whole."""
        processes = [
            {
                "name": child.name,
                "pid": child.pid,
                "kafka_port": child.ports.kafka if child.ports.kafka > 0 else None,
                "control_port": child.ports.admin,
                "rpc_port": child.ports.rpc if child.ports.rpc > 0 else None,
                "log": str(child.log_path),
            }
            for child in self.children.values()
        ]
        path = self.data_dir / "stack.json"
        scratch = path.with_suffix(".tmp")
        scratch.write_text(json.dumps({"pid": os.getpid(), "processes": processes}, indent=2) + "\n")
        scratch.replace(path)

    def environment_for(self, name: str) -> dict[str, str]:
        """The variables with which a service is started."""
        environment = environment_of(
            name,
            self._ports[name],
            etcd=self.address_of("etcd"),
            minio=self.address_of("minio"),
            metadata=tuple(map(self.address_of, METADATA)) if role_of(name) != "metadata" else (),
            settings=self.settings,
            advertised=(HOST, self.fronts[name]) if name in self.fronts else None,
        )
        return environment | self.environment.get(name, {})

    async def _start(self, name: str) -> None:
        child = self.children[name]
        known = self._ports[name]
        if name in STORES:
            await self._start_store(child, known)
            return
        await child.start([sys.executable, "-m", module_of(name)], self.environment_for(name))
        await child.learn_ports()
        child.ready_url = f"http://{HOST}:{child.ports.admin}/readyz"
        await child.wait_ready()

    async def _start_store(self, child: Child, ports: Ports) -> None:
        data = self.data_dir / child.name
        data.mkdir(parents=True, exist_ok=True)
        if child.name == "etcd":
            client, peer = f"http://{HOST}:{ports.admin}", f"http://{HOST}:{ports.rpc}"
            command = [str(tool_path("etcd")), "--name=stack", f"--data-dir={data}"]
            command += [f"--listen-client-urls={client}", f"--advertise-client-urls={client}"]
            command += [f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}"]
            command += [f"--initial-cluster=stack={peer}", "--log-level=warn"]
            if not self.settings.etcd_fsync:
                command.append("--unsafe-no-fsync")
            if self.settings.etcd_quota_bytes:
                command.append(f"--quota-backend-bytes={self.settings.etcd_quota_bytes}")
            child.ready_url = f"{client}/health"
            environment: dict[str, str] = {}
        else:
            command = [str(tool_path("minio")), "server", "--quiet", str(data)]
            command += [f"--address={HOST}:{ports.admin}", f"--console-address={HOST}:{ports.rpc}"]
            child.ready_url = f"http://{HOST}:{ports.admin}/minio/health/ready"
            environment = {
                "MINIO_ROOT_USER": ACCESS_KEY,
                "MINIO_ROOT_PASSWORD": SECRET_KEY,
                "MINIO_UPDATE": "off",
                "MINIO_BROWSER": "off",
            }
        await child.start(command, environment)
        child.ports = ports
        await child.wait_ready()
        if child.name == "minio":
            await trio.to_thread.run_sync(_ensure_bucket, f"http://{HOST}:{ports.admin}")


def _choose_ports(port_base: int | None) -> dict[str, Ports]:
    names = (*SERVICES, *STORES)
    if port_base is not None:
        return {name: ports_of(name, port_base) for name in names}
    free = iter(free_ports(3 * len(names)))
    return {name: ports_from(name, (next(free), next(free), next(free))) for name in names}


def _ensure_bucket(endpoint: str) -> None:
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        config=botocore.config.Config(s3={"addressing_style": "path"}),
    )
    try:
        existing = [each["Name"] for each in client.list_buckets()["Buckets"]]
        if BUCKET not in existing:
            client.create_bucket(Bucket=BUCKET)
    finally:
        client.close()


@asynccontextmanager
async def open_stack(
    data_dir: Path,
    settings: StackSettings,
    *,
    tell: Tell = lambda _line: None,
    before_start: Callable[[Stack], None] = lambda _stack: None,
) -> AsyncIterator[Stack]:
    """A stack that is ready; stopped, in order, at the end of the block. Raises StackError.

    `before_start` may put proxies in front of its processes (`fronts`).
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    _refuse_second(data_dir)
    stack = Stack(data_dir, settings, tell)
    before_start(stack)
    try:
        await stack.start()
        yield stack
    finally:
        with trio.CancelScope(shield=True):  # each child's stop has its own deadline
            tell("stopping")
            await stack.stop()


def _refuse_second(data_dir: Path) -> None:
    try:
        pid = json.loads((data_dir / "stack.json").read_text())["pid"]
        os.kill(pid, 0)
    except (OSError, ValueError, KeyError):
        return
    raise StackError(f"a stack (process {pid}) already uses {data_dir}: stop it, or set KAFSCALE_DATA_DIR")


__all__ = ["SERVICES", "Stack", "StackError", "StackSettings", "open_stack"]
