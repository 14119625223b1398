"""The Kubernetes API as the tests and their node agent use it: JSON over HTTPS, list and watch.

Owns: requests, errors, a mirror of one kind for the agent. Does not own: the operator's client, on purpose:
what is under test is not what it is tested with.
"""

import json
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import trio

Object = dict[str, Any]

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"

_AGAIN_SECONDS = 0.5
_STREAM_SECONDS = 300.0


class ApiError(Exception):
    """The API server refused; `message` is its own."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message


class Name(NamedTuple):
    namespace: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Where the API server is and who asks."""

    url: str
    token: str
    ca_file: str

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def load(cls, path: Path) -> "Access":
        return cls(**json.loads(path.read_text()))

    @property
    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def client(self) -> httpx.Client:
        verify = ssl.create_default_context(cafile=self.ca_file)
        return httpx.Client(
            base_url=self.url, headers=self._headers, verify=verify, timeout=30, trust_env=False
        )

    def async_client(self) -> httpx.AsyncClient:
        verify = ssl.create_default_context(cafile=self.ca_file)
        return httpx.AsyncClient(
            base_url=self.url, headers=self._headers, verify=verify, timeout=30, trust_env=False
        )


def name_of(item: Mapping[str, Any]) -> Name:
    return Name(item["metadata"].get("namespace", ""), item["metadata"]["name"])


def checked(answer: httpx.Response) -> Object:
    """Its JSON. Raises ApiError."""
    if answer.is_success:
        found: Object = answer.json()
        return found
    try:
        message = answer.json()["message"]
    except (ValueError, KeyError):
        message = answer.text[:500]
    raise ApiError(answer.status_code, message)


async def call(
    client: httpx.AsyncClient, method: str, path: str, body: object = None, *, content_type: str = ""
) -> Object:
    """Raises ApiError, httpx.TransportError."""
    headers = {"Content-Type": content_type or "application/json"}
    content = None if body is None else json.dumps(body)
    return checked(await client.request(method, path, content=content, headers=headers))


class Mirror:
    """Objects of one kind, followed for ever; `on_change` hears (object, whether it is gone)."""

    def __init__(
        self, client: httpx.AsyncClient, path: str, on_change: Callable[[Object, bool], None] | None = None
    ) -> None:
        self.items: dict[Name, Object] = {}
        self.listed = trio.Event()
        self._client = client
        self._path = path
        self._on_change = on_change or (lambda item, gone: None)

    async def run(self) -> None:
        while True:
            try:
                version = await self._list()
                async for kind, item in self._watch(version):
                    self._take(item, gone=kind == "DELETED")
            except (ApiError, httpx.HTTPError, ValueError):
                pass  # it is restarted, or the version is too old: list again
            await trio.sleep(_AGAIN_SECONDS)

    async def _list(self) -> str:
        listed = await call(self._client, "GET", self._path)
        now = {name_of(item): item for item in listed["items"]}
        for name in [name for name in self.items if name not in now]:
            self._take(self.items[name], gone=True)
        for item in now.values():
            self._take(item, gone=False)
        self.listed.set()
        version: str = listed["metadata"]["resourceVersion"]
        return version

    async def _watch(self, version: str) -> AsyncIterator[tuple[str, Object]]:
        query = {"watch": "true", "resourceVersion": version, "timeoutSeconds": str(int(_STREAM_SECONDS))}
        timeout = httpx.Timeout(30, read=_STREAM_SECONDS + 30)
        async with self._client.stream("GET", self._path, params=query, timeout=timeout) as answer:
            if not answer.is_success:
                await answer.aread()
                checked(answer)
            async for line in answer.aiter_lines():
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise ApiError(event["object"].get("code", 0), event["object"].get("message", ""))
                yield event["type"], event["object"]

    def _take(self, item: Object, *, gone: bool) -> None:
        if gone:
            self.items.pop(name_of(item), None)
        else:
            self.items[name_of(item)] = item
        self._on_change(item, gone)
