"""What containers use, served as metrics.k8s.io, from which the real HPA controller decides.

Owns: CPU and memory of process trees, answers, the server. Does not own: its registration (usage_api.py).
Source: k8s.io/metrics v1beta1, PodMetrics.
"""

import datetime
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psutil

from tests.e2e.api import Name, Object

ROOT = "/apis/metrics.k8s.io/v1beta1"
_WINDOW_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    cpu_cores: float
    memory_bytes: int


@dataclass(slots=True)
class _Seen:
    at: float
    cpu_seconds: float


@dataclass(slots=True)
class Meter:
    """Usage of pods between two looks."""

    usage: dict[Name, tuple[Object, dict[str, Usage]]] = field(default_factory=dict)
    """By pod: its labels, and the usage of each container."""
    _before: dict[int, _Seen] = field(default_factory=dict)

    def look(self, pods: Iterable[tuple[Name, Object, Mapping[str, int]]]) -> None:
        """(pod, its labels, its containers' process ids) each."""
        found: dict[Name, tuple[Object, dict[str, Usage]]] = {}
        before, self._before = self._before, {}
        for name, labels, pids in pods:
            used = {}
            for container, pid in pids.items():
                now = _tree(pid)
                if now is None:
                    continue
                seconds, memory = now
                seen = self._before[pid] = _Seen(time.monotonic(), seconds)
                if pid in before:
                    elapsed = seen.at - before[pid].at
                    cores = max(0.0, seconds - before[pid].cpu_seconds) / max(elapsed, 1e-3)
                    used[container] = Usage(cpu_cores=cores, memory_bytes=memory)
            if used:
                found[name] = (labels, used)
        self.usage = found

    def answer(self, target: str) -> tuple[int, Object]:
        """The API's answer to a GET."""
        split = urlsplit(target)
        if split.path == ROOT:
            return 200, _resources()
        parts = split.path.removeprefix(ROOT).strip("/").split("/")
        if parts[0] != "namespaces" or parts[2:3] != ["pods"]:
            return _unknown(target)
        wanted = parse_qs(split.query).get("labelSelector", [""])[0]
        items = [
            _pod_metrics(name, labels, used)
            for name, (labels, used) in self.usage.items()
            if name.namespace == parts[1] and selects(wanted, labels)
        ]
        if len(parts) == 4:
            one = [each for each in items if each["metadata"]["name"] == parts[3]]
            return (200, one[0]) if one else (404, {"kind": "Status", "apiVersion": "v1", "code": 404})
        return 200, {
            "kind": "PodMetricsList",
            "apiVersion": "metrics.k8s.io/v1beta1",
            "metadata": {},
            "items": items,
        }


Answer = Callable[[str], tuple[int, Object]]
"""The path and query of a GET -> status and JSON."""


def serve(
    apis: Mapping[str, Answer], logs: Callable[[str], bytes], address: tuple[str, int], certificate: Path
) -> None:
    """In a thread of its own, until the process ends.

    `apis`: by the beginning of their paths; `logs` answers a kubelet's /containerLogs/.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.path.startswith("/containerLogs/"):
                status, kind, body = 200, "text/plain", logs(self.path)
            else:
                api = next((api for root, api in apis.items() if self.path.startswith(root)), _unknown)
                status, answer = api(self.path)
                kind, body = "application/json", json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(address, Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def _unknown(target: str) -> tuple[int, Object]:
    return 404, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404, "message": target}


def _tree(pid: int) -> tuple[float, int] | None:
    """CPU seconds and resident bytes of a process and its children."""
    try:
        top = psutil.Process(pid)
        processes = [top, *top.children(recursive=True)]
        seconds = memory = 0.0
        for each in processes:
            times = each.cpu_times()
            seconds += times.user + times.system
            memory += each.memory_info().rss
    except psutil.Error:
        return None
    return seconds, int(memory)


def selects(selector: str, labels: Mapping[str, Any]) -> bool:
    """Of `key=value` conditions only, which is what an HPA's scale target has here."""
    pairs = [each.partition("=") for each in selector.split(",") if each]
    return all(labels.get(key) == value.lstrip("=") for key, _, value in pairs)


def _pod_metrics(name: Name, labels: Object, used: Mapping[str, Usage]) -> Object:
    return {
        "kind": "PodMetrics",
        "apiVersion": "metrics.k8s.io/v1beta1",
        "metadata": {"name": name.name, "namespace": name.namespace, "labels": labels},
        "timestamp": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "window": f"{_WINDOW_SECONDS:.0f}s",
        "containers": [
            {
                "name": container,
                "usage": {"cpu": f"{each.cpu_cores * 1e9:.0f}n", "memory": str(each.memory_bytes)},
            }
            for container, each in used.items()
        ],
    }


def _resources() -> Object:
    pods = {
        "name": "pods",
        "singularName": "",
        "namespaced": True,
        "kind": "PodMetrics",
        "verbs": ["get", "list"],
    }
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": "metrics.k8s.io/v1beta1",
        "resources": [pods],
    }
