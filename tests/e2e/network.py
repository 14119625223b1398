"""The cluster's network: a bridge in the network namespace of the whole test, a namespace for each pod.

Owns: addresses, `ip` commands. Does not own: service addresses (node/services.py), names (node/names.py).
Rule: 1 everything is inside the namespace that `python -m tests.e2e` made, and goes with it.
"""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

BRIDGE = "kafscale0"
HOST_IP = "10.200.0.1"
POD_NET = "10.200.0.0/16"
SERVICE_NET = "10.201.0.0/16"
BALANCER_NET = "10.202.0.0/16"
"""Of LoadBalancer Services: what a cloud would give them."""
API_SERVICE_IP = "10.201.0.1"
DNS_IP = "10.201.0.10"
API_PORT = 6443


def _ip(*arguments: str, at: Sequence[str] = ()) -> None:
    done = subprocess.run([*at, "ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OSError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


def make_bridge() -> None:
    _ip("link", "set", "lo", "up")
    _ip("link", "add", BRIDGE, "type", "bridge")
    _ip("addr", "add", f"{HOST_IP}/16", "dev", BRIDGE)
    _ip("link", "set", BRIDGE, "up")
    add_service_address(DNS_IP)


def add_service_address(address: str) -> None:
    """Service addresses are the bridge's host's: pods reach them by their default route."""
    _ip("addr", "replace", f"{address}/32", "dev", "lo")


def drop_service_address(address: str) -> None:
    _ip("addr", "del", f"{address}/32", "dev", "lo")


@dataclass(slots=True)
class PodNetwork:
    """A network namespace, held by a process that only sleeps."""

    number: int
    ip: str
    _holder: "subprocess.Popen[bytes]"

    @classmethod
    def open(cls, number: int) -> "PodNetwork":
        """`number`: 0 to 65000, of one pod at a time."""
        ip = f"10.200.{1 + number // 250}.{1 + number % 250}"
        command = ["unshare", "--net", "sh", "-c", "echo; exec sleep infinity"]
        holder = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        assert holder.stdout is not None
        holder.stdout.readline()  # from now on it is in its own namespace
        network = cls(number, ip, holder)
        host_end = f"pod{number}"
        _ip("link", "add", host_end, "type", "veth", "peer", "name", "eth0", "netns", str(holder.pid))
        _ip("link", "set", host_end, "master", BRIDGE, "up")
        at = network.enter
        _ip("link", "set", "lo", "up", at=at)
        _ip("addr", "add", f"{ip}/16", "dev", "eth0", at=at)
        _ip("link", "set", "eth0", "up", at=at)
        _ip("route", "add", "default", "via", HOST_IP, at=at)
        return network

    @property
    def enter(self) -> list[str]:
        """What a command line begins with to run inside."""
        return ["nsenter", f"--net=/proc/{self._holder.pid}/ns/net"]

    def close(self) -> None:
        self._holder.kill()
        self._holder.wait()
        if self._holder.stdout is not None:
            self._holder.stdout.close()
        # The kernel takes the pair away with the namespace, a moment later: a new one must not meet it.
        subprocess.run(["ip", "link", "del", f"pod{self.number}"], capture_output=True, check=False)
