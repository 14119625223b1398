"""The API server over HTTP: the only door to Kubernetes.

Owns: credentials (kubeconfig or the pod's service account, read by the `kubernetes` package), requests and
watches (httpx on Trio), statuses -> kinds of error. Does not own: what is asked for (kube.py has the port).
Rules: 1 every request has a deadline; a watch has one for silence; 2 only reads are sent again by themselves.
"""

import json
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import kubernetes.client
import kubernetes.config
from kubernetes.config import ConfigException

from libs.concurrency.threads import Threads
from libs.model.errors import Fenced, Invalid, KafscaleError, NotFound, Overloaded, Reason, Unavailable
from services.operator.kinds import BY_KIND, Key, Kind, Object
from services.operator.kube import MANAGER, Expired, Forbidden, Listed, WatchEvent

_REQUEST_SECONDS_MAX = 30.0
_WATCH_SECONDS = 300
"""The server ends a watch after it; a bookmark comes every minute or so."""
_SILENCE_SECONDS_MAX = 120.0
_PAGE = 500
_POOL = "kubeconfig"
_VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class HttpKube:
    """Made by `open_kube`."""

    def __init__(self, client: httpx.AsyncClient, configuration: Any, threads: Threads) -> None:
        self._client = client
        self._configuration = configuration
        self._threads = threads

    async def list(self, kind: Kind, namespace: str | None, *, selector: str = "") -> Listed:
        items: list[Object] = []
        query = {"labelSelector": selector, "limit": str(_PAGE)}
        while True:
            page = await self._send("GET", kind, namespace, query=query)
            for item in page.get("items") or ():
                # Items of a list don't say what they are.
                items.append({"apiVersion": kind.api_version, "kind": kind.kind, **item})
            metadata = page["metadata"]
            if not metadata.get("continue"):
                return Listed(items=tuple(items), resource_version=metadata["resourceVersion"])
            query["continue"] = metadata["continue"]

    @asynccontextmanager
    async def watch(
        self, kind: Kind, namespace: str | None, *, resource_version: str, selector: str = ""
    ) -> AsyncIterator[AsyncIterator[WatchEvent]]:
        query = {
            "watch": "true",
            "labelSelector": selector,
            "resourceVersion": resource_version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(_WATCH_SECONDS),
        }
        request = self._client.build_request(
            "GET",
            kind.path(namespace),
            params={key: value for key, value in query.items() if value},
            headers=await self._headers(),
            timeout=httpx.Timeout(_REQUEST_SECONDS_MAX, read=_SILENCE_SECONDS_MAX),
        )
        try:
            response = await self._client.send(request, stream=True)
        except httpx.HTTPError as error:
            raise _unreachable(error, sent=False) from error
        try:
            if response.status_code != httpx.codes.OK:
                with suppress(httpx.HTTPError):
                    await response.aread()
                raise _refused(response, kind, "watch")
            async with aclosing(_events(response, kind)) as events:
                yield events
        finally:
            await response.aclose()

    async def get(self, key: Key) -> Object:
        return await self._send("GET", BY_KIND[key.kind], key.namespace, key.name)

    async def apply(self, item: Object, *, manager: str = MANAGER, subresource: str = "") -> Object:
        metadata = item["metadata"]
        return await self._send(
            "PATCH",
            BY_KIND[item["kind"]],
            metadata["namespace"],
            metadata["name"],
            subresource=subresource,
            query={"fieldManager": manager, "force": "true"},
            body=item,
            patch_type="application/apply-patch+yaml",  # JSON is YAML
        )

    async def create(self, item: Object) -> Object:
        kind, namespace = BY_KIND[item["kind"]], item["metadata"]["namespace"]
        query = {"fieldManager": MANAGER}
        return await self._send("POST", kind, namespace, query=query, body=item)

    async def replace(self, item: Object) -> Object:
        metadata = item["metadata"]
        return await self._send(
            "PUT",
            BY_KIND[item["kind"]],
            metadata["namespace"],
            metadata["name"],
            query={"fieldManager": MANAGER},
            body=item,
        )

    async def merge(self, key: Key, patch: Mapping[str, object]) -> Object:
        return await self._send(
            "PATCH",
            BY_KIND[key.kind],
            key.namespace,
            key.name,
            query={"fieldManager": MANAGER},
            body=patch,
            patch_type="application/merge-patch+json",
        )

    async def delete(self, key: Key, *, uid: str) -> None:
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": uid},
            "propagationPolicy": "Background",
        }
        await self._send("DELETE", BY_KIND[key.kind], key.namespace, key.name, body=body)

    async def _send(
        self,
        method: str,
        kind: Kind,
        namespace: str | None,
        name: str = "",
        *,
        subresource: str = "",
        query: Mapping[str, str] | None = None,
        body: Mapping[str, object] | None = None,
        patch_type: str = "",
    ) -> Object:
        try:
            response = await self._client.request(
                method,
                kind.path(namespace, name, subresource),
                params={key: value for key, value in (query or {}).items() if value},
                headers={**await self._headers(), "content-type": patch_type or "application/json"},
                content=None if body is None else json.dumps(body),
            )
        except httpx.HTTPError as error:
            raise _unreachable(error, sent=method != "GET") from error
        if not response.is_success:
            verb = "list" if method == "GET" and not name else _VERBS[method]
            raise _refused(response, kind, verb, f"/{subresource}" if subresource else "")
        answer: Object = response.json()
        return answer

    async def _headers(self) -> dict[str, str]:
        """A token is read anew when it is old: in a thread, for a kubeconfig may run a program for it."""
        try:
            token = await self._threads.run(_POOL, self._token, abandon_on_cancel=True)
        except (ConfigException, OSError) as error:
            raise Unavailable(f"no credentials for the API server: {error}") from error
        return {"authorization": token} if token else {}

    def _token(self) -> str | None:
        token: str | None = self._configuration.get_api_key_with_prefix("BearerToken", "authorization")
        return token


async def _events(response: httpx.Response, kind: Kind) -> AsyncGenerator[WatchEvent, None]:
    try:
        async with aclosing(_lines(response)) as lines:
            async for line in lines:
                event = json.loads(line)
                item = event["object"]
                if event["type"] == "ERROR":
                    raise _status_error(item.get("code", 500), item, kind, "watch")
                yield WatchEvent(
                    type=event["type"], item={"apiVersion": kind.api_version, "kind": kind.kind, **item}
                )
    except httpx.HTTPError as error:
        raise _unreachable(error, sent=False) from error
    except json.JSONDecodeError as error:
        raise Unavailable(f"the watch of {kind.plural} broke off in the middle of a line") from error


async def _lines(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    """Every line that isn't empty; what comes after the last line end too."""
    rest = b""
    async with aclosing(response.aiter_bytes()) as chunks:  # type: ignore[type-var]
        async for chunk in chunks:
            *whole, rest = (rest + chunk).split(b"\n")
            for line in filter(None, whole):
                yield line
    if rest:
        yield rest


def _unreachable(error: httpx.HTTPError, *, sent: bool) -> Unavailable:
    unsent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
    text = str(error) or type(error).__name__
    return Unavailable(f"the API server can't be reached: {text}", outcome_unknown=sent and not unsent)


def _refused(response: httpx.Response, kind: Kind, verb: str, subresource: str = "") -> KafscaleError:
    try:
        status = response.json()
    except ValueError:
        status = {"message": response.text[:500]}
    return _status_error(response.status_code, status, kind, verb, subresource)


def _status_error(
    code: int, status: Mapping[str, Any], kind: Kind, verb: str, subresource: str = ""
) -> KafscaleError:
    message = str(status.get("message") or f"the API server answered {code}")
    resource = f"{kind.plural}{subresource}" + (f".{kind.group}" if kind.group else "")
    if code >= httpx.codes.INTERNAL_SERVER_ERROR:
        return Unavailable(message, outcome_unknown=code != httpx.codes.SERVICE_UNAVAILABLE)
    errors: dict[int, KafscaleError] = {
        401: Unavailable(f"the API server does not accept our credentials: {message}"),
        403: Forbidden(message, permission=f"{verb} {resource}"),
        404: NotFound(message),
        409: Fenced(message, reason=Reason.GUARD_FAILED),
        410: Expired(message),
        429: Overloaded(message),
    }
    return errors.get(code) or Invalid(message)


@asynccontextmanager
async def open_kube(kubeconfig: Path | None) -> AsyncIterator[HttpKube]:
    """Raises Invalid(INVALID_CONFIG) where no credentials are found or they can't be used."""
    threads = Threads({_POOL: 1})
    configuration = await threads.run(_POOL, _load, kubeconfig)
    async with httpx.AsyncClient(
        base_url=configuration.host,
        verify=_tls(configuration),
        timeout=_REQUEST_SECONDS_MAX,
        limits=httpx.Limits(max_connections=None),  # one for each watch, a few for requests
        trust_env=False,
    ) as client:
        yield HttpKube(client, configuration, threads)


def _load(kubeconfig: Path | None) -> Any:
    configuration = kubernetes.client.Configuration()
    try:
        if kubeconfig is not None:
            kubernetes.config.load_kube_config(str(kubeconfig), client_configuration=configuration)
        else:
            try:
                kubernetes.config.load_incluster_config(client_configuration=configuration)
            except ConfigException:
                kubernetes.config.load_kube_config(client_configuration=configuration)
    except (ConfigException, OSError) as error:
        text = f"no way to the API server: {error}; set KAFSCALE_OPERATOR_KUBECONFIG"
        raise Invalid(text, reason=Reason.INVALID_CONFIG) from error
    return configuration


def own_namespace() -> str:
    """The pod's own; outside of one, `default`."""
    try:
        return _NAMESPACE_FILE.read_text().strip()
    except OSError:
        return "default"


def _tls(configuration: Any) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
        if configuration.cert_file:
            context.load_cert_chain(configuration.cert_file, configuration.key_file)
    except (OSError, ssl.SSLError) as error:
        text = f"the kubeconfig's certificates can't be used: {error}"
        raise Invalid(text, reason=Reason.INVALID_CONFIG) from error
    if not configuration.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
