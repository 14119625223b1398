"""The API server over HTTP: paths, bodies, statuses, watches, credentials."""

import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from libs.concurrency.threads import Threads
from libs.model.errors import Fenced, Invalid, KafscaleError, NotFound, Overloaded, Unavailable
from services.operator.cluster import HttpKube, open_kube
from services.operator.kinds import CLUSTERS, CONFIG_MAPS, STATEFUL_SETS, Key
from services.operator.kube import Expired, Forbidden

KEY = Key(CONFIG_MAPS.kind, "ns", "a")
ITEM = {"apiVersion": "v1", "kind": CONFIG_MAPS.kind, "metadata": {"name": "a", "namespace": "ns"}}


class Credentials:
    """What the kubernetes package's Configuration is to the client."""

    def get_api_key_with_prefix(self, _name: str, _alias: str) -> str:
        return "Bearer token"


Answer = Callable[[httpx.Request], httpx.Response]


@asynccontextmanager
async def kube(answer: Answer) -> AsyncIterator[HttpKube]:
    transport = httpx.MockTransport(answer)
    async with httpx.AsyncClient(transport=transport, base_url="https://server") as client:
        yield HttpKube(client, Credentials(), Threads({"kubeconfig": 1}))


def answers(status: int, body: Any = None) -> Answer:
    return lambda _request: httpx.Response(status, json=body if body is not None else {"message": "why"})


async def test_server_side_apply() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json=ITEM)

    async with kube(answer) as api:
        await api.apply(ITEM)
        await api.apply(
            {**ITEM, "apiVersion": CLUSTERS.api_version, "kind": CLUSTERS.kind}, subresource="status"
        )
    first, second = seen
    assert (first.method, first.url.path) == ("PATCH", "/api/v1/namespaces/ns/configmaps/a")
    assert dict(first.url.params) == {"fieldManager": "kafscale-operator", "force": "true"}
    assert first.headers["content-type"] == "application/apply-patch+yaml"
    assert first.headers["authorization"] == "Bearer token"
    assert json.loads(first.content) == ITEM
    assert second.url.path == "/apis/kafscale.io/v1alpha1/namespaces/ns/kafscaleclusters/a/status"


async def test_a_list_in_pages_says_what_its_items_are() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        more = "continue" not in request.url.params
        metadata = {"resourceVersion": "9", **({"continue": "more"} if more else {})}
        name = "a" if more else "b"
        return httpx.Response(200, json={"metadata": metadata, "items": [{"metadata": {"name": name}}]})

    async with kube(answer) as api:
        listed = await api.list(STATEFUL_SETS, None, selector="x=y")
    assert listed.resource_version == "9"
    assert [(item["kind"], item["metadata"]["name"]) for item in listed.items] == [
        ("StatefulSet", "a"),
        ("StatefulSet", "b"),
    ]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Invalid),
        (401, Unavailable),
        (403, Forbidden),
        (404, NotFound),
        (409, Fenced),
        (410, Expired),
        (422, Invalid),
        (429, Overloaded),
        (500, Unavailable),
        (503, Unavailable),
    ],
)
async def test_a_status_is_a_kind_of_error(status: int, kind: type[KafscaleError]) -> None:
    async with kube(answers(status)) as api:
        with pytest.raises(kind, match="why") as caught:
            await api.get(KEY)
    if isinstance(caught.value, Forbidden):
        assert caught.value.permission == "get configmaps"


async def test_a_permission_is_named_as_a_role_would() -> None:
    async with kube(answers(403)) as api:
        with pytest.raises(Forbidden) as caught:
            await api.list(STATEFUL_SETS, "ns")
        assert caught.value.permission == "list statefulsets.apps"
        item = {**ITEM, "apiVersion": CLUSTERS.api_version, "kind": CLUSTERS.kind}
        with pytest.raises(Forbidden) as caught:
            await api.apply(item, subresource="status")
        assert caught.value.permission == "patch kafscaleclusters/status.kafscale.io"


async def test_an_outage_says_whether_a_write_may_have_happened() -> None:
    def unreachable(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    def cut_off(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadError("reset", request=request)

    for answer, unknown in ((unreachable, False), (cut_off, True)):
        async with kube(answer) as api:
            with pytest.raises(Unavailable) as caught:
                await api.apply(ITEM)
            assert caught.value.outcome_unknown is unknown


def stream(*events: Any) -> Answer:
    text = "".join(json.dumps(event) + "\n" for event in events)
    return lambda _request: httpx.Response(200, text=text)


async def test_a_watch_gives_events_until_the_server_ends_it() -> None:
    event = {"type": "ADDED", "object": {"metadata": {"name": "a", "resourceVersion": "5"}}}
    async with (
        kube(stream(event)) as api,
        api.watch(CONFIG_MAPS, "ns", resource_version="4") as events,
    ):
        found = [each async for each in events]
    assert [(each.type, each.item["kind"]) for each in found] == [("ADDED", "ConfigMap")]


async def test_a_watch_that_is_too_old_is_expired_however_it_is_said() -> None:
    error = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old"}}
    async with kube(stream(error)) as api, api.watch(CONFIG_MAPS, "ns", resource_version="4") as events:
        with pytest.raises(Expired):
            await anext(events)
    async with kube(answers(410)) as api:
        with pytest.raises(Expired):
            async with api.watch(CONFIG_MAPS, "ns", resource_version="4"):
                raise AssertionError("it was refused")


async def test_a_line_that_breaks_off_is_an_outage() -> None:
    async with (
        kube(lambda _request: httpx.Response(200, text='{"type": "ADD')) as api,
        api.watch(CONFIG_MAPS, "ns", resource_version="4") as events,
    ):
        with pytest.raises(Unavailable):
            await anext(events)


async def test_a_kubeconfig_is_read(tmp_path: Path) -> None:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {"token": "secret"}}],
    }
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(config))
    async with open_kube(path) as api:
        assert await api._headers() == {"authorization": "Bearer secret"}
        with pytest.raises(Unavailable, match="can't be reached"):
            await api.get(KEY)


async def test_a_kubeconfig_that_is_missing_or_wrong_names_the_setting(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="KAFSCALE_OPERATOR_KUBECONFIG"):
        async with open_kube(tmp_path / "none"):
            raise AssertionError("there is none")
    broken = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [
            {
                "name": "c",
                "cluster": {
                    "server": "https://127.0.0.1:1",
                    "certificate-authority-data": base64.b64encode(b"no certificate").decode(),
                },
            }
        ],
        "users": [{"name": "u", "user": {}}],
    }
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(broken))
    with pytest.raises(Invalid, match="certificates can't be used"):
        async with open_kube(path):
            raise AssertionError("its certificate is none")
