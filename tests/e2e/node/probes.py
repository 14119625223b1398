"""Startup, readiness and liveness probes, and preStop hooks, as the kubelet makes them.

Owns: what is asked, thresholds, times. Does not own: what follows (pods.py).
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
import trio

_OK = range(200, 400)


@dataclass(slots=True)
class Probe:
    """One probe of a running container: `passed` after enough successes, None until the first verdict."""

    spec: Mapping[str, Any]
    url: str
    passed: bool | None = None
    _successes: int = field(default=0)
    _failures: int = field(default=0)

    @property
    def period_seconds(self) -> float:
        return float(self.spec.get("periodSeconds", 10))

    async def ask(self, client: httpx.AsyncClient) -> None:
        """Asks once and updates `passed`."""
        try:
            timeout = float(self.spec.get("timeoutSeconds", 1))
            good = (await client.get(self.url, timeout=timeout)).status_code in _OK
        except httpx.TransportError:
            good = False
        if good:
            self._successes, self._failures = self._successes + 1, 0
            if self._successes >= self.spec.get("successThreshold", 1):
                self.passed = True
        else:
            self._successes, self._failures = 0, self._failures + 1
            if self._failures >= self.spec.get("failureThreshold", 3):
                self.passed = False


def probe_of(container: Mapping[str, Any], kind: str, ip: str) -> Probe | None:
    """`kind`: startupProbe, readinessProbe or livenessProbe; only httpGet is known here."""
    spec = container.get(kind)
    if spec is None:
        return None
    get = spec["httpGet"]
    return Probe(spec, f"http://{ip}:{port_of(container, get['port'])}{get.get('path', '/')}")


def port_of(container: Mapping[str, Any], port: str | int) -> int:
    """A port by its number or its name."""
    if isinstance(port, int):
        return port
    return next(int(each["containerPort"]) for each in container["ports"] if each.get("name") == port)


async def pre_stop(container: Mapping[str, Any], ip: str, enter: Sequence[str]) -> None:
    """Runs the container's preStop hook; how it ends changes nothing, as in Kubernetes."""
    hook = (container.get("lifecycle") or {}).get("preStop") or {}
    if "sleep" in hook:
        await trio.sleep(hook["sleep"]["seconds"])
    elif "httpGet" in hook:
        get = hook["httpGet"]
        url = f"http://{ip}:{port_of(container, get['port'])}{get.get('path', '/')}"
        async with httpx.AsyncClient(trust_env=False, timeout=None) as client:
            with suppress(httpx.TransportError):
                await client.get(url)
    elif "exec" in hook:
        await trio.run_process([*enter, *hook["exec"]["command"]], check=False)
