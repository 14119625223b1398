"""Who is there: owners with their sessions, and gateways with their broker ids, on leases.

Owns: the keys OWNERS, GATEWAYS, BROKER_IDS, and beginning and sealing SESSIONS.
Does not own: the replica's own registration (replica.py), what a lost lease leads to (controller.py).
Rules: 1 a sealed session never registers again: its chain has ended; nor one whose record is gone; 2 a
gateway's broker id is its own for ever, so that clients see stable ids; only when BROKER_IDS_MAX are given is
the longest unused given again.
"""

from dataclasses import dataclass, replace

from libs.model.cluster import Gateway, Owner
from libs.model.errors import Fenced, Invalid, Reason
from libs.model.ids import BrokerId, ChainSeq, GatewayId, Revision, SessionId, StoreId
from proto.metadata import metadata_pb2 as messages
from services.metadata import keys, stored
from services.metadata.cluster_info import adopt_store
from services.metadata.kv.port import KV, KeyValue, LeaseId, Put
from services.metadata.stored import SessionRecord, SessionState
from services.metadata.writes import ATTEMPTS_MAX, contended, unchanged, write

NAME_LENGTH_MAX = 253  # a pod's name: RFC 1123 subdomain
BROKER_IDS_MAX = 1000
BROKER_ID_FIRST = BrokerId(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    lease_id: LeaseId
    revision: Revision
    broker_id: BrokerId = BrokerId(-1)  # noqa: RUF009 - a NewType of a constant


class Registrations:
    def __init__(self, kv: KV, *, lease_seconds: float) -> None:
        self._kv = kv
        self.lease_seconds = lease_seconds

    async def register_owner(
        self, owner: Owner, *, in_flight_max: int, known: bool = False, store_id: StoreId | None = None
    ) -> Registered:
        """A new session ends a drain, a `known` one goes on as it was. Raises Fenced(SESSION_OVER), Invalid.

        A known session without a record has ended, or this store never knew it (it was wiped, or set back):
        it must not be recorded anew, because a record says that the store knows all that names the session.
        `store_id`: of the object store that the owner writes to; None: it didn't say. Raises
        Invalid(WRONG_STORE).
        """
        _check_name(owner.owner_id, "owner")
        if not owner.address:
            raise Invalid(f"owner {owner.owner_id!r} registers without an address")
        lease_id = await self._kv.grant_lease(ttl_seconds=self.lease_seconds)
        owner_key, session_key = keys.owner(owner.owner_id), keys.session(owner.session)
        for _ in range(ATTEMPTS_MAX):
            before, item = await self._kv.get(owner_key), await self._kv.get(session_key)
            record = _live_session(owner, item, in_flight_max, known=known)
            if store_id is not None:
                await adopt_store(self._kv, store_id)
            registered = replace(owner, draining=record.draining)
            ops = [Put(key=owner_key, value=stored.owner_bytes(registered), lease_id=lease_id)]
            if item is None:
                ops.append(Put(key=session_key, value=stored.session_bytes(record)))
            guards = [unchanged(owner_key, before), unchanged(session_key, item)]
            revision = await write(self._kv, guards, ops)
            if revision is not None:
                return Registered(lease_id=lease_id, revision=revision)
        raise contended(f"owner {owner.owner_id}")

    async def register_gateway(self, gateway: Gateway) -> Registered:
        """A gateway that brings a broker id keeps it (all of one address share one), -1 gets a stable one."""
        _check_name(gateway.gateway_id, "gateway")
        lease_id = await self._kv.grant_lease(ttl_seconds=self.lease_seconds)
        key = keys.gateway(gateway.gateway_id)
        for _ in range(ATTEMPTS_MAX):
            guards, ops = [unchanged(key, await self._kv.get(key))], []
            broker_id = gateway.broker_id
            if broker_id < 0:
                broker_id, item = await self._broker_id(gateway.gateway_id)
                guards.append(unchanged(keys.broker_id(broker_id), item))
                record = messages.BrokerIdRecord(gateway=gateway.gateway_id).SerializeToString()
                if item is None or item.value != record:
                    ops.append(Put(key=keys.broker_id(broker_id), value=record))
            value = stored.gateway_bytes(replace(gateway, broker_id=broker_id))
            ops.append(Put(key=key, value=value, lease_id=lease_id))
            revision = await write(self._kv, guards, ops)
            if revision is not None:
                return Registered(lease_id=lease_id, revision=revision, broker_id=broker_id)
        raise contended(f"gateway {gateway.gateway_id}")

    async def _broker_id(self, gateway_id: GatewayId) -> tuple[BrokerId, KeyValue | None]:
        """The gateway's own id, else the least free one, else the one that is unused for longest."""
        page = await self._kv.range(keys.BROKER_IDS, limit=BROKER_IDS_MAX)
        given = {BrokerId(int(item.key.removeprefix(keys.BROKER_IDS))): item for item in page.items}
        for broker_id, item in given.items():
            if stored.parse(messages.BrokerIdRecord, item).gateway == gateway_id:
                return broker_id, item
        for number in range(BROKER_ID_FIRST, BROKER_ID_FIRST + BROKER_IDS_MAX):
            if BrokerId(number) not in given:
                return BrokerId(number), None
        live = await self._kv.range(keys.GATEWAYS, limit=BROKER_IDS_MAX)
        taken = {stored.gateway(item).value.broker_id for item in live.items}
        unused = [
            (item.mod_revision, broker_id) for broker_id, item in given.items() if broker_id not in taken
        ]
        if not unused:
            raise Invalid(f"{BROKER_IDS_MAX} gateways are registered: there is no broker id left")
        _, oldest = min(unused)
        return oldest, given[oldest]

    async def keep_alive(self, lease_id: LeaseId) -> None:
        """Raises NotFound where the lease is over."""
        await self._kv.keep_alive(lease_id)

    async def deregister(self, lease_id: LeaseId) -> None:
        await self._kv.revoke_lease(lease_id)

    async def mark_sealed(self, session: SessionId, *, sealed_at: ChainSeq) -> None:
        """Idempotent; a session without a record has ended. Raises Invalid for another end than is known."""
        key = keys.session(session)
        for _ in range(ATTEMPTS_MAX):
            item = await self._kv.get(key)
            if item is None:
                return
            record = stored.session(item).value
            if record.state is SessionState.SEALED:
                if record.sealed_at != sealed_at:
                    raise Invalid(
                        f"session {session} is sealed at {record.sealed_at}, not at {sealed_at}: "
                        "a chain's end never changes"
                    )
                return
            sealed = replace(record, state=SessionState.SEALED, sealed_at=sealed_at)
            put = Put(key=key, value=stored.session_bytes(sealed))
            if await write(self._kv, [unchanged(key, item)], [put]) is not None:
                return
        raise contended(f"session {session}")


def _live_session(owner: Owner, item: KeyValue | None, in_flight_max: int, *, known: bool) -> SessionRecord:
    if item is None:
        if known:
            raise Fenced(
                f"session {owner.session} has no record any more: begin a new one", reason=Reason.SESSION_OVER
            )
        return SessionRecord(
            session=owner.session,
            owner_id=owner.owner_id,
            in_flight_max=in_flight_max,
            state=SessionState.LIVE,
        )
    record = stored.session(item).value
    if record.state is SessionState.SEALED:
        raise Fenced(
            f"session {owner.session} was sealed at {record.sealed_at}: begin a new one",
            reason=Reason.SESSION_OVER,
        )
    if record.owner_id != owner.owner_id:
        raise Invalid(f"session {owner.session} belongs to owner {record.owner_id!r}")
    return record


def _check_name(name: str, what: str) -> None:
    if not 1 <= len(name) <= NAME_LENGTH_MAX or "/" in name:
        raise Invalid(f"{name[:300]!r} is no name for a {what}: 1 to {NAME_LENGTH_MAX} characters, no slash")
