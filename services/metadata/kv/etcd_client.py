"""Calls to whichever of etcd's endpoints answers, signed in.

Owns: choosing an endpoint, failing over, the token. Does not own: what the calls say (etcd.py).
Rules: 1 a call goes to the next endpoint only where the last one certainly did nothing, or where it may
happen twice; 2 the token is asked for when it is needed and when etcd says that it is over.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

import trio

from libs.concurrency.rand import Rand
from libs.model.errors import Invalid, KafscaleError, Reason, Unavailable
from libs.rpc import Channel, ClientTls, RpcLimits, open_channel
from proto.etcd import rpc_pb2 as etcd
from proto.etcd.rpc_grpc import AuthStub
from services.metadata.kv.etcd_errors import authentication_is_off, token_is_over, translate

T = TypeVar("T")

CALL_SECONDS_MAX = 5.0
_LIMITS = RpcLimits(
    connect_timeout_seconds=3.0,
    backoff_max_seconds=0.5,
    keepalive_interval_seconds=5.0,
    keepalive_timeout_seconds=3.0,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    username: str
    password: str

    def __repr__(self) -> str:
        return f"Credentials(username={self.username!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a call goes, and what it shows."""

    name: str
    channel: Channel
    metadata: dict[str, str]


class EtcdClient:
    def __init__(self, endpoints: Sequence[tuple[str, Channel]], credentials: Credentials | None) -> None:
        self._endpoints = endpoints
        self._credentials = credentials
        self._preferred = 0
        self._token: str | None = None
        self._signing_in = trio.Lock()

    async def call(
        self,
        send: Callable[[Endpoint], Awaitable[T]],
        *,
        wrote: bool,
        may_repeat: bool,
    ) -> T:
        """What `send` gives. Raises Unavailable, Invalid, NotFound, Fenced(GUARD_FAILED)."""
        last: KafscaleError = Unavailable("no etcd endpoint is known", reason=Reason.METADATA_UNAVAILABLE)
        for _ in self._endpoints:
            name, channel = self._endpoints[self._preferred]
            try:
                return await self._signed_in(name, channel, send)
            except KafscaleError as error:
                last = translate(error, wrote=wrote, endpoint=name)
            if not isinstance(last, Unavailable):
                break
            self._preferred = (self._preferred + 1) % len(self._endpoints)
            if last.outcome_unknown and not may_repeat:
                break
        if isinstance(last, Unavailable) and may_repeat:
            last = Unavailable(last.message, reason=last.reason)
        raise last

    def prefer_another(self, than: Endpoint) -> None:
        """A stream over this endpoint broke."""
        if self._endpoints[self._preferred][0] == than.name:
            self._preferred = (self._preferred + 1) % len(self._endpoints)

    async def _signed_in(self, name: str, channel: Channel, send: Callable[[Endpoint], Awaitable[T]]) -> T:
        token = await self._sign_in(channel, over=None)
        try:
            return await send(_endpoint(name, channel, token))
        except Invalid as error:
            if token is None or not token_is_over(error):
                raise
        token = await self._sign_in(channel, over=token)
        return await send(_endpoint(name, channel, token))

    async def _sign_in(self, channel: Channel, *, over: str | None) -> str | None:
        """The token; a new one where the last was `over`. None where there is nobody to be."""
        if self._credentials is None:
            return None
        async with self._signing_in:
            if self._token is None or self._token == over:
                request = etcd.AuthenticateRequest(
                    name=self._credentials.username, password=self._credentials.password
                )
                try:
                    reply = await AuthStub(channel).Authenticate(request, timeout=CALL_SECONDS_MAX)
                    self._token = reply.token
                except KafscaleError as error:
                    if isinstance(error, Unavailable):
                        # Nothing was written, whatever became of it.
                        raise Unavailable(error.message, reason=error.reason) from error
                    if not authentication_is_off(error):
                        raise Invalid(
                            f"etcd refuses user {self._credentials.username!r}: {error.message}; "
                            "check KAFSCALE_ETCD_USERNAME and KAFSCALE_ETCD_PASSWORD",
                            reason=Reason.INVALID_CONFIG,
                        ) from error
                    self._credentials = None
                    return None
            return self._token


def _endpoint(name: str, channel: Channel, token: str | None) -> Endpoint:
    return Endpoint(name=name, channel=channel, metadata={} if token is None else {"token": token})


@asynccontextmanager
async def open_etcd_client(
    endpoints: Sequence[str], *, credentials: Credentials | None, tls: ClientTls | None, rand: Rand
) -> AsyncIterator[EtcdClient]:
    """`endpoints`: http://host:port, https://host:port (with `tls`) or host:port."""
    async with AsyncExitStack() as stack:
        channels: list[tuple[str, Channel]] = []
        for endpoint in endpoints:
            scheme, _, rest = endpoint.rpartition("://")
            secure = (tls or ClientTls()) if scheme == "https" else None
            channel = open_channel(rest.rstrip("/"), tls=secure, limits=_LIMITS, rand=rand)
            channels.append((endpoint, await stack.enter_async_context(channel)))
        yield EtcdClient(channels, credentials)
