"""A Kafka client's connection: requests as kio writes them, answers in the order of the requests.

Owns: frames, one connection at a time, time-outs. Does not own: what is asked (the actors), retries.
Rules: 1 the versions are those of a client of today; topics go by id wherever the protocol can; 2 a request
without an answer in time ends the connection, as in every client: later answers would be taken for others'.
"""

import functools
import io
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import timedelta
from typing import Any, Final

import trio
from kio.index import load_request_schema, load_response_schema
from kio.serial import entity_reader, entity_writer
from kio.serial._introspect import EntityTupleField, classify_field

from tests.sim.world.network import Network
from tests.sim.world.process import SimProcess
from tests.sim.world.streams import SimStream, dial
from tests.support.kafka_wire import entity

REQUEST_SECONDS_MAX: Final = 8.0
VERSIONS: Final = {
    "produce": (0, 13),
    "fetch": (1, 16),
    "list_offsets": (2, 7),
    "metadata": (3, 12),
    "offset_commit": (8, 10),
    "offset_fetch": (9, 10),
    "find_coordinator": (10, 3),
    "join_group": (11, 7),
    "heartbeat": (12, 4),
    "leave_group": (13, 5),
    "sync_group": (14, 5),
    "create_topics": (19, 7),
    "delete_topics": (20, 6),
    "delete_records": (21, 2),
    "init_producer_id": (22, 4),
    "describe_configs": (32, 4),
    "create_partitions": (37, 3),
    "incremental_alter_configs": (44, 1),
}


class Gone(Exception):
    """There is no connection, or no more. What was not answered has an unknown outcome."""


class _Codec:
    """One API in one version, from the client's side."""

    def __init__(self, api: str) -> None:
        self.key, self.version = VERSIONS[api]
        self.request_type: Any = load_request_schema(self.key, self.version)
        response_type: Any = load_response_schema(self.key, self.version)
        self._write: Callable[..., None] = entity_writer(self.request_type)
        self._read: Callable[..., tuple[Any, int]] = entity_reader(response_type)
        self._tagged_answer = response_type.__header_schema__.__version__ >= 1
        self._flexible = self.request_type.__flexible__

    def frame(self, request: Any, number: int, client: bytes) -> bytes:
        out = io.BytesIO()
        self._write(out, request)
        body = out.getvalue()
        head = (
            self.key.to_bytes(2, "big")
            + self.version.to_bytes(2, "big")
            + number.to_bytes(4, "big")
            + len(client).to_bytes(2, "big")
            + client
            + (b"\x00" if self._flexible else b"")
        )
        return (len(head) + len(body)).to_bytes(4, "big") + head + body

    def answer(self, frame: bytes) -> Any:
        return self._read(frame, 5 if self._tagged_answer else 4)[0]


@functools.cache
def codec(api: str) -> _Codec:
    """By the API's name in VERSIONS."""
    return _Codec(api)


def request(api: str, **values: Any) -> Any:
    """A request of that API: structs are mappings, what is not given is empty."""
    return _build(codec(api).request_type, values)


def _build(kind: Any, values: Mapping[str, Any]) -> Any:
    known = dict(_empty(kind))
    parts = _parts(kind)
    for name, value in values.items():
        part = parts.get(name)
        known[name] = value if part is None or value is None else tuple(_build(part, each) for each in value)
    return kind(**known)


@functools.cache
def _empty(kind: Any) -> Mapping[str, Any]:
    """What each field is where nothing is given."""
    empty = entity(kind, {})
    return {each.name: getattr(empty, each.name) for each in fields(kind)}


@functools.cache
def _parts(kind: Any) -> Mapping[str, Any]:
    """The fields that are arrays of structs, and of which."""
    found = {each.name: classify_field(each) for each in fields(kind)}
    return {name: part.type_ for name, part in found.items() if isinstance(part, EntityTupleField)}


class KafkaConnection:
    """One connection to one gateway. Made by `connect`."""

    def __init__(self, stream: SimStream, client: SimProcess, address: str) -> None:
        self.address = address
        self._stream = stream
        self._client = client.name.encode()
        self._asked: deque[tuple[int, str]] = deque()
        self._last = 0
        self._received = bytearray()
        self.is_open = True

    @property
    def unanswered(self) -> int:
        return len(self._asked)

    async def ask(self, api: str, request: Any, *, seconds_max: float = REQUEST_SECONDS_MAX) -> Any:
        """Asks and waits for the answer; nothing else may be asked meanwhile. Raises Gone."""
        await self.send(api, request)
        return await self.receive(seconds_max=seconds_max)

    async def send(self, api: str, request: Any, *, answered: bool = True) -> None:
        """Raises Gone."""
        self._last += 1
        if answered:
            self._asked.append((self._last, api))
        try:
            await self._stream.send_all(codec(api).frame(request, self._last, self._client))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self.drop()
            raise Gone(str(error)) from error

    async def receive(self, *, seconds_max: float = REQUEST_SECONDS_MAX) -> Any:
        """The answer to the oldest request. Raises Gone."""
        try:
            with trio.fail_after(seconds_max):
                size = int.from_bytes(await self._exactly(4), "big")
                frame = await self._exactly(size)
        except trio.TooSlowError as error:
            self.drop()
            raise Gone("no answer in time") from error
        except trio.BrokenResourceError as error:
            self.drop()
            raise Gone(str(error)) from error
        except trio.Cancelled:
            self.drop()  # the answer may come yet, and would be taken for the next one's
            raise
        number, api = self._asked.popleft()
        assert int.from_bytes(frame[:4], "big") == number, "answers come in the order of requests"
        return codec(api).answer(frame)

    def drop(self) -> None:
        """Closes it, without a word."""
        self.is_open = False
        self._stream.close_nowait()

    async def _exactly(self, count: int) -> bytes:
        while len(self._received) < count:
            data = await self._stream.receive_some()
            if not data:
                raise trio.BrokenResourceError("closed by the gateway")
            self._received += data
        taken = bytes(self._received[:count])
        del self._received[:count]
        return taken


async def connect(network: Network, client: SimProcess, address: str) -> KafkaConnection:
    """Raises Gone where the gateway can't be reached."""
    try:
        return KafkaConnection(await dial(network, client, address), client, address)
    except OSError as error:
        raise Gone(str(error)) from error


def seconds(value: float) -> timedelta:
    return timedelta(seconds=value)
