"""A real Kubernetes control plane: etcd, kube-apiserver, kube-controller-manager, kube-scheduler.

Owns: certificates, tokens, command lines, restarts. Does not own: nodes (node/), what is deployed (tests).
"""

import datetime
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import trustme
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.e2e.api import Access
from tests.e2e.network import API_PORT, API_SERVICE_IP, HOST_IP, SERVICE_NET
from tools.servers import Etcd
from tools.toolchain import tool_path

START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 20.0
_ADMIN_TOKEN = "admin"
_LOG_LINES_SHOWN = 15


class ControlPlaneError(Exception):
    """A part did not start; the text ends with its last log lines."""


class Part:
    """One process of the control plane."""

    def __init__(
        self, name: str, command: Sequence[str], folder: Path, ready_url: str, access: Access
    ) -> None:
        self.name = name
        self._command = command
        self._log = folder / f"{name}.log"
        self._ready_url = ready_url
        self._access = access
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns once it is ready. Raises ControlPlaneError."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": os.environ["PATH"]},
            )
        self._wait_ready(self._process)

    def _wait_ready(self, process: "subprocess.Popen[bytes]") -> None:
        with self._access.client() as client:
            deadline = time.monotonic() + START_SECONDS_MAX
            while time.monotonic() < deadline:
                if process.poll() is not None:
                    break
                try:
                    if client.get(self._ready_url).is_success:
                        return
                except httpx.TransportError:
                    pass
                time.sleep(0.2)
        lines = "\n".join(self._log.read_text(errors="replace").splitlines()[-_LOG_LINES_SHOWN:])
        raise ControlPlaneError(f"{self.name} did not become ready; the last lines of {self._log}:\n{lines}")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS_MAX)
            self.kill()


class ControlPlane:
    """`access` is an administrator's; `kubeconfig` says the same to helm and kubectl."""

    def __init__(self, folder: Path, etcd: Etcd) -> None:
        self.folder = folder
        self.files = _write_files(folder)
        self.access = Access(
            url=f"https://{HOST_IP}:{API_PORT}", token=_ADMIN_TOKEN, ca_file=str(self.files / "ca.crt")
        )
        self.kubeconfig = self._write_kubeconfig()
        self.api_server = self._part("kube-apiserver", self._api_server(etcd), "/readyz")
        health = "https://127.0.0.1:{}/healthz".format
        self._others = [
            self._part("kube-controller-manager", self._controllers(), health(10257)),
            self._part("kube-scheduler", self._scheduler(), health(10259)),
        ]

    def start(self) -> None:
        self.api_server.start()
        for part in self._others:
            part.start()

    def stop(self) -> None:
        for part in (*self._others, self.api_server):
            part.stop()

    def restart_api_server(self) -> None:
        """SIGKILL, and once more from the start; the others find it again by themselves."""
        self.api_server.kill()
        self.api_server.start()

    def _part(self, name: str, arguments: Sequence[str], ready: str) -> Part:
        return Part(name, [str(tool_path(name)), *arguments], self.folder, ready, self.access)

    def _api_server(self, etcd: Etcd) -> list[str]:
        files = self.files
        return [
            f"--etcd-servers={etcd.endpoint}",
            f"--advertise-address={HOST_IP}",
            "--bind-address=0.0.0.0",
            f"--secure-port={API_PORT}",
            f"--tls-cert-file={files}/server.crt",
            f"--tls-private-key-file={files}/server.key",
            f"--token-auth-file={files}/tokens.csv",
            "--authorization-mode=RBAC",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={files}/accounts.key",
            f"--service-account-signing-key-file={files}/accounts.key",
            f"--service-cluster-ip-range={SERVICE_NET}",
            f"--client-ca-file={files}/ca.crt",
            f"--requestheader-client-ca-file={files}/ca.crt",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--proxy-client-cert-file={files}/server.crt",
            f"--proxy-client-key-file={files}/server.key",
            # A pod has its node's zone as a label, as from 1.35 on without asking.
            "--feature-gates=PodTopologyLabelsAdmission=true",
            "--v=1",
        ]

    def _controllers(self) -> list[str]:
        return [
            *self._as_client(),
            f"--service-account-private-key-file={self.files}/accounts.key",
            f"--root-ca-file={self.files}/ca.crt",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            # Kubernetes' own are 15 s, 30 s and 5 min: a test does not wait that long for each step.
            "--horizontal-pod-autoscaler-sync-period=3s",
            "--horizontal-pod-autoscaler-initial-readiness-delay=5s",
            "--horizontal-pod-autoscaler-cpu-initialization-period=10s",
            "--v=1",
        ]

    def _scheduler(self) -> list[str]:
        return [*self._as_client(), "--leader-elect=false", "--bind-address=127.0.0.1", "--v=1"]

    def _as_client(self) -> list[str]:
        names = ("kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig")
        return [
            *(f"--{name}={self.kubeconfig}" for name in names),
            f"--tls-cert-file={self.files}/server.crt",
            f"--tls-private-key-file={self.files}/server.key",
        ]

    def _write_kubeconfig(self) -> Path:
        cluster = {"server": self.access.url, "certificate-authority": self.access.ca_file}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "e2e",
            "clusters": [{"name": "e2e", "cluster": cluster}],
            "users": [{"name": "admin", "user": {"token": self.access.token}}],
            "contexts": [{"name": "e2e", "context": {"cluster": "e2e", "user": "admin"}}],
        }
        path = self.folder / "kubeconfig"
        path.write_text(yaml.safe_dump(config))
        path.chmod(0o600)
        return path


def _write_files(folder: Path) -> Path:
    """The API server's and the usage API's certificate, one root, keys of service accounts, tokens."""
    files = folder / "files"
    files.mkdir(parents=True)
    authority = trustme.CA()
    names = ("kubernetes.default.svc", "metrics-server.kube-system.svc", "localhost")
    server = authority.issue_cert(
        *names, HOST_IP, API_SERVICE_IP, "127.0.0.1", not_after=_tomorrow(), common_name="front-proxy"
    )
    authority.cert_pem.write_to_path(files / "ca.crt")
    server.private_key_and_cert_chain_pem.write_to_path(files / "server.pem")
    server.cert_chain_pems[0].write_to_path(files / "server.crt")
    server.private_key_pem.write_to_path(files / "server.key")
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    (files / "accounts.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )
    (files / "tokens.csv").write_text(f'{_ADMIN_TOKEN},admin,1,"system:masters"\n')
    return files


def _tomorrow() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)


@contextmanager
def running_control_plane(folder: Path, etcd: Etcd) -> Iterator[ControlPlane]:
    """All of it, ready, until the block ends."""
    plane = ControlPlane(folder, etcd)
    try:
        plane.start()
        yield plane
    finally:
        plane.stop()


def wait_until(condition: Callable[[], object], what: str, *, seconds_max: float, every: float = 0.2) -> None:
    """Polls; fails the test with `what` and what `condition` returned last."""
    deadline = time.monotonic() + seconds_max
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds_max:.0f} s; the last answer was {found!r}")
        time.sleep(every)
