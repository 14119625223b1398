"""Real MinIO, etcd and Apache Kafka on loopback, each in a folder and on ports of its own.

Owns: their command lines, readiness, kill and restart on the same ports and data, clean-up.
Does not own: the programs (toolchain.py), Trio (tests/support/servers.py).
Rules: 1 ports are handed to these programs before they bind, so a start that loses its port is tried again
on others, a restart keeps its own; 2 readiness is asked for, within a deadline; 3 leaving the context leaves
no process.

All calls block; from Trio: `await trio.to_thread.run_sync(server.restart)`.
"""

import base64
import http.client
import random
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from tools.toolchain import kafka_command, tool_path

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

HOST = "127.0.0.1"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 15.0
POLL_EVERY_S = 0.05
PORT_TRIES = 5
# Below Linux's range for outgoing connections: a restart finds its port again, no client took it meanwhile.
PORTS = range(15000, 32000)
LOG_LINES_SHOWN = 20


class ServerError(Exception):
    """A real server did not start or stop; the text ends with the last lines of its log."""


def wait_stopped(pid: int) -> None:
    """After SIGSTOP: until every thread is stopped. `kill` returns at once, and until then they go on."""
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while not all(_is_stopped(task) for task in Path(f"/proc/{pid}/task").glob("*")):
        if time.monotonic() > deadline:
            raise ServerError(f"process {pid} did not stop within {STOP_TIMEOUT_S:.0f} s after SIGSTOP")
        time.sleep(0.001)


def _is_stopped(task: Path) -> bool:
    """Or gone; a thread that waits for its disk stops when that has answered."""
    try:
        state = (task / "stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state in {"T", "t", "Z", "X"}


def free_ports(count: int) -> tuple[int, ...]:
    """Port numbers that nobody listens on now; someone may take one before it is bound."""
    chosen: list[int] = []
    for port in random.SystemRandom().sample(PORTS, len(PORTS)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        chosen.append(port)
        if len(chosen) == count:
            return tuple(chosen)
    raise ServerError(f"no {count} free ports between {PORTS.start} and {PORTS.stop}")


class RealServer(ABC):
    """One server process with its folder; see the subclasses for addresses and credentials."""

    name: str
    ports_count: int

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log_path = folder / f"{self.name}.log"
        self.ports: tuple[int, ...] = ()
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def _command(self) -> Sequence[str]:
        """The command line, with `self.ports` chosen."""

    @abstractmethod
    def _is_ready(self) -> bool:
        """Whether the server answers; OSError and HTTPException count as no."""

    def _environment(self) -> dict[str, str]:
        return {}

    def _prepare(self) -> None:  # noqa: B027 - most servers need nothing
        """What must exist before the first start on `self.ports`."""

    @property
    def pid(self) -> int:
        """The process id; ServerError when it does not run."""
        if self._process is None:
            raise ServerError(f"{self.name} does not run")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Starts on free ports and waits until ready; ServerError when it can't within START_TIMEOUT_S."""
        for tries_left in reversed(range(PORT_TRIES)):
            self.ports = free_ports(self.ports_count)
            self._prepare()
            try:
                self._launch()
            except ServerError as error:
                if tries_left and "already in use" in str(error).lower():
                    continue
                raise
            return

    def restart(self) -> None:
        """Ends the process if it lives (SIGKILL) and starts it again on the same ports and data."""
        self.kill()
        self._launch()

    def kill(self) -> None:
        """SIGKILL, and waits for the end; no harm when it is dead."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """SIGTERM, then SIGKILL after STOP_TIMEOUT_S; no harm when it is dead."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.kill()
            self._process = None

    def pause(self) -> None:
        """SIGSTOP: the process keeps its sockets and answers nobody, from when this returns."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)
            wait_stopped(self._process.pid)

    def resume(self) -> None:
        """SIGCONT, after `pause`."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def log_tail(self) -> str:
        """The last lines that the process wrote."""
        lines = self.log_path.read_text(errors="replace").splitlines() if self.log_path.exists() else []
        return "\n".join(lines[-LOG_LINES_SHOWN:])

    def _launch(self) -> None:
        with self.log_path.open("wb") as log:
            self._process = subprocess.Popen(
                self._command(),
                env={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(self.folder), **self._environment()},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            self._wait_ready(self._process)
        except BaseException:
            self.kill()
            raise

    def _wait_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise ServerError(f"{self.name} ended with {process.returncode} at start:\n{self.log_tail()}")
            try:
                if _listens(process.pid, self.ports[0]) and self._is_ready():
                    return
            except (OSError, http.client.HTTPException, psutil.Error):
                pass  # not listening yet, or just ended
            time.sleep(POLL_EVERY_S)
        raise ServerError(f"{self.name} was not ready after {START_TIMEOUT_S:.0f} s:\n{self.log_tail()}")


class Minio(RealServer):
    """An S3 store: `endpoint`, `access_key`, `secret_key`, `region`; `create_bucket` makes a bucket.

    It encrypts the objects whose PUTs name `kms_key`, the one key that it knows.
    """

    name = "minio"
    ports_count = 1
    access_key = "kafscale-test"
    secret_key = "kafscale-test-secret"  # noqa: S105 - guards nothing: loopback, thrown away
    region = "us-east-1"
    kms_key = "kafscale-test-key"

    @property
    def address(self) -> str:
        """host:port."""
        return f"{HOST}:{self.ports[0]}"

    @property
    def endpoint(self) -> str:
        """The URL for an S3 client."""
        return f"http://{self.address}"

    def create_bucket(self, bucket: str) -> str:
        """Makes a bucket and returns its name."""
        with closing(self.client()) as client:
            client.create_bucket(Bucket=bucket)
        return bucket

    def kms_keys(self, bucket: str) -> dict[str, str | None]:
        """Of each object in the bucket: the id of the key that encrypts it, None where none does."""
        with closing(self.client()) as client:
            pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
            names = [found["Key"] for page in pages for found in page.get("Contents", [])]
            return {name: client.head_object(Bucket=bucket, Key=name).get("SSEKMSKeyId") for name in names}

    def client(self) -> "S3Client":
        """boto3's, with these credentials; the caller closes it."""
        import boto3  # noqa: PLC0415 - takes half a second, and few need it

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name=self.region,
        )

    def _command(self) -> Sequence[str]:
        certs = str(self.folder / "certs")
        return (
            *(str(tool_path("minio")), "server", "--quiet", "--address", self.address),
            *("--certs-dir", certs, str(self.folder / "data")),
        )

    def _environment(self) -> dict[str, str]:
        return {
            "MINIO_ROOT_USER": self.access_key,
            "MINIO_ROOT_PASSWORD": self.secret_key,
            "MINIO_KMS_SECRET_KEY": f"{self.kms_key}:{base64.b64encode(bytes(32)).decode()}",
            "MINIO_BROWSER": "off",
            "MINIO_UPDATE": "off",
        }

    def _is_ready(self) -> bool:
        return _http_get(self.ports[0], "/minio/health/ready")[0] == http.client.OK


class Etcd(RealServer):
    """A single etcd: `address` serves clients. `fsync=False` is for tests that never cut the power.

    `election_timeout_ms` also bounds leases: etcd grants none shorter than 1.5 times it.
    """

    name = "etcd"
    ports_count = 2

    def __init__(self, folder: Path, *, fsync: bool = False, election_timeout_ms: int = 250) -> None:
        super().__init__(folder)
        self._fsync = fsync
        self._election_timeout_ms = election_timeout_ms

    @property
    def address(self) -> str:
        """host:port of the client API."""
        return f"{HOST}:{self.ports[0]}"

    @property
    def endpoint(self) -> str:
        """The URL for an etcd client."""
        return f"http://{self.address}"

    def _command(self) -> Sequence[str]:
        peer = f"http://{HOST}:{self.ports[1]}"
        return (
            *(
                str(tool_path("etcd")),
                "--name=test",
                f"--data-dir={self.folder / 'data'}",
                "--log-level=warn",
            ),
            *(f"--listen-client-urls={self.endpoint}", f"--advertise-client-urls={self.endpoint}"),
            *(f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}"),
            *(f"--initial-cluster=test={peer}", f"--election-timeout={self._election_timeout_ms}"),
            *(f"--heartbeat-interval={self._election_timeout_ms // 10}",),
            *(() if self._fsync else ("--unsafe-no-fsync",)),
        )

    def _is_ready(self) -> bool:
        status, body = _http_get(self.ports[0], "/health")
        return status == http.client.OK and b'"true"' in body


class KafkaBroker(RealServer):
    """Apache Kafka as one node (KRaft), the reference of tests and benchmarks; `address` is its bootstrap."""

    name = "kafka"
    ports_count = 2
    heap = ("-Xms1g", "-Xmx1g", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-Dkafscale.log.level=WARN")

    def __init__(self, folder: Path, *, partitions_default: int = 1) -> None:
        super().__init__(folder)
        self._partitions_default = partitions_default
        self._properties = folder / "server.properties"

    @property
    def address(self) -> str:
        """host:port for Kafka clients."""
        return f"{HOST}:{self.ports[0]}"

    def _prepare(self) -> None:
        broker, controller = self.ports
        data = self.folder / "data"
        shutil.rmtree(data, ignore_errors=True)
        settings = {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.voters": f"1@{HOST}:{controller}",
            "controller.listener.names": "CONTROLLER",
            "listeners": f"PLAINTEXT://{HOST}:{broker},CONTROLLER://{HOST}:{controller}",
            "log.dirs": data,
            "num.partitions": self._partitions_default,
            "offsets.topic.num.partitions": 1,
            "offsets.topic.replication.factor": 1,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "group.initial.rebalance.delay.ms": 0,
        }
        self._properties.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        formatted = subprocess.run(
            kafka_command(
                "kafka.tools.StorageTool", "format", f"--cluster-id={cluster_id}", "-c", str(self._properties)
            ),
            capture_output=True,
            text=True,
            check=False,
        )
        if formatted.returncode != 0:
            raise ServerError(f"kafka's storage was not formatted:\n{formatted.stdout}{formatted.stderr}")

    def _command(self) -> Sequence[str]:
        return kafka_command("kafka.Kafka", str(self._properties), jvm=self.heap)

    def _is_ready(self) -> bool:
        """ApiVersions v0 gets an answer."""
        request = struct.pack(">hhih", 18, 0, 1, -1)
        with socket.create_connection((HOST, self.ports[0]), timeout=2) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            return len(connection.recv(8)) > 0


def _listens(pid: int, port: int) -> bool:
    """Whether it is this process that listens there: another program on that port may answer as well."""
    connections = psutil.Process(pid).net_connections("tcp")
    return any(one.status == psutil.CONN_LISTEN and one.laddr.port == port for one in connections)


def _http_get(port: int, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(HOST, port, timeout=2)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@contextmanager
def minio_server() -> Iterator[Minio]:
    """A ready MinIO in a folder that goes away with it."""
    with _folder("minio") as folder:
        minio = Minio(folder)
        with _running(minio):
            yield minio


@contextmanager
def etcd_server(*, fsync: bool = False, election_timeout_ms: int = 250) -> Iterator[Etcd]:
    """A ready etcd in a folder that goes away with it."""
    with _folder("etcd") as folder:
        etcd = Etcd(folder, fsync=fsync, election_timeout_ms=election_timeout_ms)
        with _running(etcd):
            yield etcd


@contextmanager
def kafka_broker(*, partitions_default: int = 1) -> Iterator[KafkaBroker]:
    """A ready Apache Kafka in a folder that goes away with it."""
    with _folder("kafka") as folder:
        broker = KafkaBroker(folder, partitions_default=partitions_default)
        with _running(broker):
            yield broker


@contextmanager
def _folder(name: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix=f"kafscale-{name}-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@contextmanager
def _running(server: RealServer) -> Iterator[None]:
    """The data are thrown away, so nothing is lost by ending it with SIGKILL, and seconds are won."""
    server.start()
    try:
        yield
    finally:
        server.kill()
