"""What goes wrong and when: a schedule that follows from its seed. Pure.

Owns: the kinds of fault, their targets and lengths, the order. Does not own: doing it (nemesis.py).
Rules: 1 one seed, one schedule; 2 in each lane every kind comes once before any comes again; 3 two lanes run
beside each other, one that hurts processes and one that hurts connections and stores, so that faults overlap
and two of a lane never undo each other; 4 nothing begins so late that it could not end before the end.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tools.stack.layout import GATEWAYS, METADATA, OWNERS

LEASE_SECONDS = 6.0
CLIENTS = "clients"

PAIRS = (
    *((CLIENTS, gateway) for gateway in GATEWAYS),
    *((gateway, owner) for gateway in GATEWAYS for owner in OWNERS),
    *((source, replica) for source in (*GATEWAYS, *OWNERS) for replica in METADATA),
    *((replica, "etcd") for replica in METADATA),
    *((owner, "minio") for owner in OWNERS),
)
"""Every pair of processes that talk: who connects, to whom."""
SERVICES = (*GATEWAYS, *OWNERS, *METADATA)

PROCESSES = (
    "kill owner",
    "kill gateway",
    "kill metadata",
    "kill etcd",
    "kill minio",
    "stop for a moment",
    "stop past the lease",
    "pause etcd",
    "clock jump",
)
CONNECTIONS = (
    "cut both ways",
    "cut one way",
    "isolate",
    "reset",
    "delay",
    "throttled minio",
    "slow minio",
    "erring minio",
    "silent minio",
    "etcd out of space",
)
KINDS = (*PROCESSES, *CONNECTIONS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that goes wrong, from `at` on, for `lasts` seconds (both from the beginning of the run)."""

    kind: str
    at: float
    lasts: float
    targets: tuple[str, ...] = ()
    """A process's name, or a pair's two."""
    way: str = "both"
    """forth, back or both: from who connects, to it."""
    amount: float = 0.0
    """Seconds of delay or of a jump, bytes per second, share of requests: as the kind says."""


def schedule(seed: int, seconds: float, kinds: Sequence[str] = KINDS) -> list[Fault]:
    """Sorted by when they begin; `kinds` is a choice of KINDS."""
    faults = [
        *_lane(random.Random(f"{seed} processes"), seconds, [k for k in PROCESSES if k in kinds]),
        *_lane(random.Random(f"{seed} connections"), seconds, [k for k in CONNECTIONS if k in kinds]),
    ]
    return sorted(faults, key=lambda fault: (fault.at, fault.kind))


def _lane(chance: random.Random, seconds: float, kinds: list[str]) -> list[Fault]:
    faults: list[Fault] = []
    at = chance.uniform(1.0, 4.0)
    waiting: list[str] = []
    while kinds:
        if not waiting:
            waiting = chance.sample(kinds, len(kinds))
        fault = _MADE[(kind := waiting.pop())](chance, kind, at)
        if at + fault.lasts > seconds:
            break
        faults.append(fault)
        at += fault.lasts + chance.uniform(3.0, 9.0)
    return faults


def _kill(names: Sequence[str]) -> "Make":
    def make(chance: random.Random, kind: str, at: float) -> Fault:
        """Dead for that long, then started again."""
        lasts = chance.choice((0.0, 1.0, 4.0, LEASE_SECONDS + 2.0))
        return Fault(kind=kind, at=at, lasts=lasts, targets=(chance.choice(names),))

    return make


def _stop(names: Sequence[str], shortest: float, longest: float) -> "Make":
    def make(chance: random.Random, kind: str, at: float) -> Fault:
        lasts = chance.uniform(shortest, longest)
        return Fault(kind=kind, at=at, lasts=lasts, targets=(chance.choice(names),))

    return make


def _pair(shortest: float, longest: float, ways: Sequence[str] = ("both",), amount: float = 0.0) -> "Make":
    def make(chance: random.Random, kind: str, at: float) -> Fault:
        lasts = chance.uniform(shortest, longest)
        amount_here = chance.uniform(0.2, 1.0) * amount
        targets, way = chance.choice(PAIRS), chance.choice(ways)
        return Fault(kind=kind, at=at, lasts=lasts, targets=targets, way=way, amount=amount_here)

    return make


def _store(lowest: float, highest: float, target: str = "minio", way: str = "both") -> "Make":
    def make(chance: random.Random, kind: str, at: float) -> Fault:
        lasts, amount = chance.uniform(4.0, 10.0), chance.uniform(lowest, highest)
        return Fault(kind=kind, at=at, lasts=lasts, targets=(target,), way=way, amount=amount)

    return make


def _jump(chance: random.Random, kind: str, at: float) -> Fault:
    amount = chance.choice((-1.0, 1.0)) * chance.choice((2.0, 60.0, 3600.0, 86400.0 * 30))
    lasts = chance.uniform(4.0, 8.0)
    return Fault(kind=kind, at=at, lasts=lasts, targets=(chance.choice(SERVICES),), amount=amount)


Make = Callable[[random.Random, str, float], Fault]

_MADE: dict[str, Make] = {
    "kill owner": _kill(OWNERS),
    "kill gateway": _kill(GATEWAYS),
    "kill metadata": _kill(METADATA),
    "kill etcd": _kill(("etcd",)),
    "kill minio": _kill(("minio",)),
    "stop for a moment": _stop((*SERVICES, "minio"), 0.5, 3.0),
    "stop past the lease": _stop(SERVICES, LEASE_SECONDS + 1.0, LEASE_SECONDS + 6.0),
    "pause etcd": _stop(("etcd",), 3.0, LEASE_SECONDS + 6.0),
    "clock jump": _jump,
    "cut both ways": _pair(2.0, 12.0),
    "cut one way": _pair(2.0, 12.0, ways=("forth", "back")),
    "isolate": _stop(SERVICES, 2.0, LEASE_SECONDS + 4.0),
    "reset": _pair(0.0, 4.0),
    "delay": _pair(3.0, 8.0, amount=0.3),
    "throttled minio": _store(20_000, 200_000),
    "slow minio": _store(0.1, 1.5, way="back"),
    "erring minio": _store(0.1, 0.6),
    "silent minio": _store(0.0, 0.0, way="back"),
    "etcd out of space": _store(0.0, 0.0, "etcd"),
}
