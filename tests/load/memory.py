"""How much memory each process may take, and how much it took.

Owns: the bound, a formula over the settings (docs/reliability.md says it in words); watching resident sizes.
Does not own: the settings' values (scene.py).
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import psutil

from libs.chassis.config import ServiceSettings
from libs.model.limits import MIB
from services.gateway.config import GatewayOptions
from services.partition_owner.config import OwnerOptions
from tools.stack.layout import SERVICES, role_of

BASE_BYTES = 160 * MIB
"""A process with its libraries, its tables, and what the allocator keeps of what it was given back."""
CONNECTION_BYTES = 100 * 1024
"""A Kafka connection: its task, its socket's buffers in the process, the sessions it has."""
EVERY_SECONDS = 0.25


def owner_bytes_max(options: OwnerOptions) -> int:
    """Buffers count twice: bytes come in one buffer and go out in another. Caches count once."""
    buffers = (
        options.unflushed_bytes_max + options.fetch_reply_bytes_max + options.compaction_buffer_bytes_max
    )
    caches = (
        options.tail_cache_bytes_max
        + options.cold_cache_bytes_max
        + options.segment_index_cache_bytes_max
        + options.footer_cache_bytes_max
    )
    gets = (options.cold_gets_max + options.tail_gets_max) * options.cold_block_bytes
    return BASE_BYTES + 2 * buffers + caches + 2 * gets


def gateway_bytes_max(options: GatewayOptions, *, connections: int) -> int:
    buffers = options.in_flight_bytes_max + options.fetched_bytes_max
    return BASE_BYTES + 2 * buffers + connections * CONNECTION_BYTES


def metadata_bytes_max() -> int:
    """It holds topics, groups and watches, no records."""
    return BASE_BYTES


def bounds(settings: Mapping[str, str], *, connections: int) -> dict[str, int]:
    """The bound of each role, with these KAFSCALE_* settings."""
    named = {name.removeprefix("KAFSCALE_").lower(): value for name, value in settings.items()}
    owner = {name: value for name, value in named.items() if name in OwnerOptions.model_fields}
    gateway = {name: value for name, value in named.items() if name in GatewayOptions.model_fields}
    known = {*OwnerOptions.model_fields, *GatewayOptions.model_fields, *ServiceSettings.model_fields}
    assert named.keys() <= known, f"no such settings: {sorted(named.keys() - known)}"
    return {
        "owner": owner_bytes_max(OwnerOptions.model_validate(owner)),
        "gateway": gateway_bytes_max(GatewayOptions.model_validate(gateway), connections=connections),
        "metadata": metadata_bytes_max(),
    }


class Peaks:
    """The greatest resident size of each process so far, in bytes."""

    def __init__(self, pids: Callable[[], Mapping[str, int]]) -> None:
        self._pids = pids
        self.by_name: dict[str, int] = {}

    @property
    def by_role(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for name, peak in self.by_name.items():
            found[role_of(name)] = max(peak, found.get(role_of(name), 0))
        return found

    def look(self) -> None:
        for name, pid in self._pids().items():
            if name in SERVICES:
                try:
                    now = psutil.Process(pid).memory_info().rss
                except psutil.NoSuchProcess:
                    continue  # whoever watches processes will tell
                self.by_name[name] = max(now, self.by_name.get(name, 0))


@contextmanager
def watched_memory(pids: Callable[[], Mapping[str, int]]) -> Iterator[Peaks]:
    """Looks all the time until the block ends."""
    peaks, stop = Peaks(pids), threading.Event()

    def look() -> None:
        while not stop.wait(EVERY_SECONDS):
            peaks.look()

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield peaks
    finally:
        stop.set()
        thread.join()
        peaks.look()
