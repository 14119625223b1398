"""The store in etcd, by its native v3 API.

Owns: the port's calls as etcd's, the cluster's prefix. Does not own: endpoints and tokens (etcd_client.py).
Rules: 1 only linearizable reads; 2 a transaction is sent once: an unknown outcome is told, never repeated;
3 a watch is a stream of its own on the shared connection, so that a slow watcher holds up nobody and is held
by HTTP/2's window; 4 progress is asked for: etcd tells it by itself every ten minutes only.
https://etcd.io/docs/v3.6/learning/api_guarantees/. Manual progress is right from etcd 3.4.25 and 3.5.8 on.
"""

from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from math import ceil
from typing import Any

import trio

from libs.concurrency.rand import Rand
from libs.model.errors import Corrupt, Fenced, Invalid, KafscaleError, NotFound, Reason, Unavailable
from libs.model.ids import Revision
from libs.rpc import ClientTls
from proto.etcd import kv_pb2 as mvcc
from proto.etcd import rpc_pb2 as etcd
from proto.etcd.rpc_grpc import KVStub, LeaseStub, WatchStub
from services.metadata.kv.etcd_client import (
    CALL_SECONDS_MAX,
    Credentials,
    Endpoint,
    EtcdClient,
    open_etcd_client,
)
from services.metadata.kv.etcd_errors import translate
from services.metadata.kv.port import (
    Delete,
    Deleted,
    KeyValue,
    LeaseId,
    ModRevisionIs,
    Put,
    RangeResult,
    TxnResult,
    WatchBatch,
)
from services.metadata.kv.state import check_txn

PROGRESS_SECONDS = 5.0
"""A watch that hears nothing for so long asks; one that then hears nothing again is broken."""


class EtcdKV:
    """A KV below one prefix; made by `open_etcd_kv`."""

    def __init__(self, client: EtcdClient, *, prefix: str) -> None:
        self._client = client
        self._prefix = prefix

    async def get(self, key: str) -> KeyValue | None:
        reply = await self._range(etcd.RangeRequest(key=self._bytes(key)))
        return self._item(reply.kvs[0]) if reply.kvs else None

    async def range(
        self, prefix: str, *, start_after: str = "", limit: int = 1000, revision: Revision | None = None
    ) -> RangeResult:
        start = self._bytes(prefix)
        if start_after and start_after >= prefix:
            start = self._bytes(start_after) + b"\0"
        request = etcd.RangeRequest(
            key=start, range_end=_end_of(self._bytes(prefix)), limit=limit, revision=revision or 0
        )
        while True:
            try:
                reply = await self._range(request)
                break
            except Invalid as error:
                if error.reason is not Reason.MESSAGE_TOO_LARGE or request.limit <= 1:
                    raise
                request.limit //= 2  # large values: fewer of them at a time
        return RangeResult(
            items=tuple(self._item(item) for item in reply.kvs),
            revision=Revision(reply.header.revision),
            more=reply.more,
        )

    async def _range(self, request: etcd.RangeRequest) -> etcd.RangeResponse:
        async def send(to: Endpoint) -> etcd.RangeResponse:
            return await KVStub(to.channel).Range(request, timeout=CALL_SECONDS_MAX, metadata=to.metadata)

        return await self._client.call(send, wrote=False, may_repeat=True)

    async def txn(self, compares: Sequence[ModRevisionIs], ops: Sequence[Put | Delete]) -> TxnResult:
        check_txn(compares, ops)
        request = etcd.TxnRequest(
            compare=[
                etcd.Compare(
                    result=etcd.Compare.EQUAL,
                    target=etcd.Compare.MOD,
                    key=self._bytes(compare.key),
                    mod_revision=compare.revision,
                )
                for compare in compares
            ],
            success=[self._op(op) for op in ops],
        )

        async def send(to: Endpoint) -> etcd.TxnResponse:
            return await KVStub(to.channel).Txn(request, timeout=CALL_SECONDS_MAX, metadata=to.metadata)

        reply = await self._client.call(send, wrote=True, may_repeat=False)
        return TxnResult(succeeded=reply.succeeded, revision=Revision(reply.header.revision))

    def watch(
        self, prefix: str, *, after_revision: Revision
    ) -> AbstractAsyncContextManager[AsyncIterator[WatchBatch]]:
        @asynccontextmanager
        async def open_watch() -> AsyncIterator[AsyncIterator[WatchBatch]]:
            async with aclosing(self._batches(prefix, after_revision)) as batches:
                yield batches

        return open_watch()

    async def grant_lease(self, *, ttl_seconds: float) -> LeaseId:
        request = etcd.LeaseGrantRequest(TTL=ceil(ttl_seconds))

        async def send(to: Endpoint) -> etcd.LeaseGrantResponse:
            return await LeaseStub(to.channel).LeaseGrant(
                request, timeout=CALL_SECONDS_MAX, metadata=to.metadata
            )

        # A lease that was granted to nobody's knowledge runs out.
        return LeaseId((await self._client.call(send, wrote=True, may_repeat=True)).ID)

    async def keep_alive(self, lease_id: LeaseId) -> None:
        request = etcd.LeaseKeepAliveRequest(ID=lease_id)

        async def send(to: Endpoint) -> etcd.LeaseKeepAliveResponse | None:
            stub = LeaseStub(to.channel)
            async with stub.LeaseKeepAlive.open(timeout=CALL_SECONDS_MAX, metadata=to.metadata) as stream:
                await stream.send_message(request, end=True)
                return await stream.recv_message()

        reply = await self._client.call(send, wrote=False, may_repeat=True)
        if reply is None:
            raise Unavailable("etcd did not answer a keep-alive", reason=Reason.METADATA_UNAVAILABLE)
        if reply.TTL <= 0:
            raise NotFound(f"lease {lease_id} is over: register again", reason=Reason.UNSPECIFIED)

    async def revoke_lease(self, lease_id: LeaseId) -> None:
        request = etcd.LeaseRevokeRequest(ID=lease_id)

        async def send(to: Endpoint) -> etcd.LeaseRevokeResponse:
            return await LeaseStub(to.channel).LeaseRevoke(
                request, timeout=CALL_SECONDS_MAX, metadata=to.metadata
            )

        try:
            await self._client.call(send, wrote=True, may_repeat=True)
        except NotFound:
            return

    async def compact(self, revision: Revision) -> None:
        request = etcd.CompactionRequest(revision=revision)

        async def send(to: Endpoint) -> etcd.CompactionResponse:
            return await KVStub(to.channel).Compact(request, timeout=CALL_SECONDS_MAX, metadata=to.metadata)

        try:
            await self._client.call(send, wrote=True, may_repeat=True)
        except Fenced:
            return  # it was compacted further already

    # Watching

    async def _batches(self, prefix: str, after_revision: Revision) -> AsyncGenerator[WatchBatch, None]:
        endpoint = await self._client.call(_itself, wrote=False, may_repeat=True)
        stub = WatchStub(endpoint.channel)
        # A member that is cut off from the others ends the watch instead of falling silent.
        metadata = {**endpoint.metadata, "hasleader": "true"}
        create = etcd.WatchCreateRequest(
            key=self._bytes(prefix),
            range_end=_end_of(self._bytes(prefix)),
            start_revision=after_revision + 1,
            progress_notify=True,
            fragment=True,
        )
        try:
            async with stub.Watch.open(metadata=metadata) as stream:
                await stream.send_message(etcd.WatchRequest(create_request=create))
                async with aclosing(_responses(stream)) as responses:
                    async for response in responses:
                        for batch in self._read(response, after_revision):
                            after_revision = batch.revision
                            yield batch
        except KafscaleError as error:
            if isinstance(error, Fenced):
                raise
            self._client.prefer_another(endpoint)
            raise translate(error, wrote=False, endpoint=endpoint.name) from error

    def _read(self, response: etcd.WatchResponse, after_revision: Revision) -> list[WatchBatch]:
        if response.canceled:
            if response.compact_revision:
                raise Fenced(
                    f"the changes after revision {after_revision} were compacted "
                    f"(up to {response.compact_revision}): read anew",
                    reason=Reason.GUARD_FAILED,
                )
            raise Unavailable(f"the watch was ended: {response.cancel_reason}")
        by_revision: defaultdict[int, list[KeyValue | Deleted]] = defaultdict(list)
        for event in response.events:
            if event.type == mvcc.Event.DELETE:
                by_revision[event.kv.mod_revision].append(Deleted(key=self._key(event.kv)))
            else:
                by_revision[event.kv.mod_revision].append(self._item(event.kv))
        batches = [
            WatchBatch(revision=Revision(revision), events=tuple(events))
            for revision, events in sorted(by_revision.items())
        ]
        if not batches:
            # The answer to creating the watch says nothing about what happened before it.
            reached = after_revision if response.created else response.header.revision
            batches.append(WatchBatch(revision=Revision(max(reached, after_revision)), events=()))
        return batches

    # Values

    def _bytes(self, key: str) -> bytes:
        return (self._prefix + key).encode()

    def _key(self, item: mvcc.KeyValue) -> str:
        try:
            return item.key.decode().removeprefix(self._prefix)
        except UnicodeDecodeError as error:
            raise Corrupt(f"the store holds a key that is no text: {item.key!r}") from error

    def _item(self, item: mvcc.KeyValue) -> KeyValue:
        return KeyValue(
            key=self._key(item),
            value=item.value,
            create_revision=Revision(item.create_revision),
            mod_revision=Revision(item.mod_revision),
            lease_id=LeaseId(item.lease) if item.lease else None,
        )

    def _op(self, op: Put | Delete) -> etcd.RequestOp:
        if isinstance(op, Delete):
            return etcd.RequestOp(request_delete_range=etcd.DeleteRangeRequest(key=self._bytes(op.key)))
        put = etcd.PutRequest(key=self._bytes(op.key), value=op.value, lease=op.lease_id or 0)
        return etcd.RequestOp(request_put=put)


async def _itself(endpoint: Endpoint) -> Endpoint:
    return endpoint


async def _responses(stream: Any) -> AsyncGenerator[etcd.WatchResponse, None]:
    """Whole responses; asks for progress where nothing comes."""
    asked = False
    parts: etcd.WatchResponse | None = None
    while True:
        response: etcd.WatchResponse | None = None
        with trio.move_on_after(PROGRESS_SECONDS) as silence:
            response = await stream.recv_message()
            if response is None:
                raise Unavailable("etcd ended the watch")
        if silence.cancelled_caught or response is None:
            if asked:
                raise Unavailable(f"etcd was silent for {2 * PROGRESS_SECONDS:.0f} seconds")
            await stream.send_message(etcd.WatchRequest(progress_request=etcd.WatchProgressRequest()))
            asked = True
            continue
        asked = False
        if parts is not None:
            parts.events.extend(response.events)
            parts.fragment = response.fragment
            response = parts
        parts = response if response.fragment else None
        if parts is None:
            yield response


def _end_of(prefix: bytes) -> bytes:
    """The first key after all with this prefix."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


@asynccontextmanager
async def open_etcd_kv(
    endpoints: Sequence[str],
    *,
    cluster: str,
    credentials: Credentials | None = None,
    tls: ClientTls | None = None,
    rand: Rand,
) -> AsyncIterator[EtcdKV]:
    """The keys below /kafscale/{cluster}/; nothing is connected before the first call."""
    async with open_etcd_client(endpoints, credentials=credentials, tls=tls, rand=rand) as client:
        yield EtcdKV(client, prefix=f"/kafscale/{cluster}/")
