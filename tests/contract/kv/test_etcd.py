"""What only the etcd store has to stand: an etcd that dies, hangs, fills up, has users, or wants TLS."""

import http.client
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
import trio
import trustme

from libs.concurrency.rand import SystemRand
from libs.model.errors import Invalid, NotFound, Unavailable
from libs.rpc import ClientTls
from services.metadata.kv import etcd_client
from services.metadata.kv.etcd import EtcdKV, open_etcd_kv
from services.metadata.kv.etcd_client import Credentials
from services.metadata.kv.port import ABSENT, KeyValue, ModRevisionIs, Put, WatchBatch
from tests.support.servers import Etcd, free_ports, open_etcd, restart

CLUSTER = "test"


@asynccontextmanager
async def opened(*endpoints: str, credentials: Credentials | None = None) -> AsyncIterator[EtcdKV]:
    async with open_etcd_kv(endpoints, cluster=CLUSTER, credentials=credentials, rand=SystemRand()) as kv:
        yield kv


async def test_an_etcd_that_was_killed_is_used_again_when_it_is_back() -> None:
    async with open_etcd() as server, opened(server.endpoint) as kv:
        lease_id = await kv.grant_lease(ttl_seconds=60)
        written = await kv.txn([], [Put(key="a", value=b"1", lease_id=lease_id)])
        async with kv.watch("", after_revision=written.revision) as batches:
            await trio.to_thread.run_sync(server.kill)
            with pytest.raises(Unavailable):
                await _changed(batches)
        with pytest.raises(Unavailable, match=server.endpoint):
            await kv.get("a")
        with pytest.raises(Unavailable):
            await kv.txn([], [Put(key="b", value=b"")])
        await restart(server)
        item = await _until_reached(kv, "a")
        assert item is not None
        assert item.mod_revision == written.revision
        await kv.keep_alive(lease_id)
        second = await kv.txn([], [Put(key="a", value=b"2")])
        # Nothing is lost in between.
        async with kv.watch("", after_revision=written.revision) as batches:
            assert (await _changed(batches)).revision == second.revision


async def _changed(batches: AsyncIterator[WatchBatch]) -> WatchBatch:
    """The next batch that changes something."""
    with trio.fail_after(20):
        while True:
            batch = await anext(batches)
            if batch.events:
                return batch


async def _fill(kv: EtcdKV) -> None:
    for number in range(100):
        await kv.txn([], [Put(key=f"k{number}", value=b"x" * 500_000)])


async def _until_reached(kv: EtcdKV, key: str) -> KeyValue | None:
    with trio.fail_after(20):
        while True:
            try:
                return await kv.get(key)
            except Unavailable:
                await trio.sleep(0.05)


async def test_an_etcd_that_hangs_leaves_the_outcome_open(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_etcd() as server, opened(server.endpoint) as kv:
        await kv.txn([], [Put(key="a", value=b"1")])
        monkeypatch.setattr("services.metadata.kv.etcd.CALL_SECONDS_MAX", 0.3)
        server.pause()
        with pytest.raises(Unavailable) as caught:
            await kv.txn([], [Put(key="a", value=b"2")])
        assert caught.value.outcome_unknown
        with pytest.raises(Unavailable) as caught:
            await kv.get("a")
        assert not caught.value.outcome_unknown
        server.resume()
        monkeypatch.undo()
        item = await _until_reached(kv, "a")
        assert item is not None
        assert item.value in {b"1", b"2"}


async def test_a_dead_endpoint_is_passed_over(etcd: Etcd) -> None:
    dead = f"http://127.0.0.1:{free_ports(1)[0]}"
    async with opened(dead, etcd.endpoint) as kv:
        # A refused connection certainly did nothing: also a write goes on to the next.
        assert (await kv.txn([], [Put(key="failover", value=b"1")])).succeeded
        assert await kv.get("failover") is not None
        lease_id = await kv.grant_lease(ttl_seconds=60)
        await kv.keep_alive(lease_id)
        await kv.revoke_lease(lease_id)


async def test_without_any_endpoint_the_error_names_one() -> None:
    dead = f"http://127.0.0.1:{free_ports(1)[0]}"
    async with opened(dead) as kv:
        with pytest.raises(Unavailable, match=dead) as caught:
            await kv.txn([], [Put(key="a", value=b"")])
        assert not caught.value.outcome_unknown


class ToldEtcd(Etcd):
    """An etcd with more flags."""

    def __init__(self, folder: Path, *flags: str) -> None:
        super().__init__(folder)
        self._flags = flags

    def _command(self) -> Sequence[str]:
        return (*super()._command(), *self._flags)

    def post(self, path: str, **body: str) -> None:
        """Etcd's JSON gateway, for what an administrator does."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[0], timeout=10)
        connection.request("POST", path, json.dumps(body))
        assert connection.getresponse().status == http.client.OK
        connection.close()


@contextmanager
def running(server: Etcd) -> Iterator[None]:
    server.start()
    try:
        yield
    finally:
        server.kill()


def _with_users(server: ToldEtcd) -> None:
    server.post("/v3/auth/user/add", name="root", password="secret-of-root")
    server.post("/v3/auth/role/add", name="root")
    server.post("/v3/auth/user/grant", user="root", role="root")
    server.post("/v3/auth/enable")


async def test_users_sign_in_and_sign_in_again(tmp_path: Path) -> None:
    server = ToldEtcd(tmp_path)
    right = Credentials(username="root", password="secret-of-root")
    with running(server):
        async with opened(server.endpoint, credentials=right) as kv:
            # An etcd without users asks nobody who he is.
            assert (await kv.txn([], [Put(key="a", value=b"1")])).succeeded
        _with_users(server)
        async with opened(server.endpoint, credentials=right) as kv:
            result = await kv.txn([], [Put(key="a", value=b"2")])
            async with kv.watch("", after_revision=ABSENT) as batches:
                await _changed(batches)
            # Simple tokens live in etcd's memory.
            await restart(server)
            item = await _until_reached(kv, "a")
            assert item is not None
            assert item.mod_revision == result.revision
        async with opened(server.endpoint) as kv:
            with pytest.raises(Invalid, match="user name is empty"):
                await kv.get("a")
        async with opened(
            server.endpoint, credentials=Credentials(username="root", password="wrong-secret")
        ) as kv:
            with pytest.raises(Invalid, match="KAFSCALE_ETCD_PASSWORD") as caught:
                await kv.get("a")
            assert "wrong-secret" not in caught.value.message
    assert "secret" not in repr(right)


async def test_a_full_etcd_says_so_and_wrote_nothing(tmp_path: Path) -> None:
    server = ToldEtcd(tmp_path, f"--quota-backend-bytes={4 * 1024 * 1024}")
    with running(server):
        async with opened(server.endpoint) as kv:
            with pytest.raises(Unavailable, match="space exceeded") as caught:
                await _fill(kv)
            assert not caught.value.outcome_unknown
            assert await kv.get("k0") is not None


class TlsEtcd(ToldEtcd):
    """An etcd that wants certificates from its clients."""

    def __init__(self, folder: Path, authority: trustme.CA) -> None:
        super().__init__(folder)
        authority.cert_pem.write_to_path(str(folder / "ca.pem"))
        for name in ("server", "client"):
            certificate = authority.issue_cert("127.0.0.1")
            certificate.private_key_pem.write_to_path(str(folder / f"{name}.key"))
            for pem in certificate.cert_chain_pems:
                pem.write_to_path(str(folder / f"{name}.pem"), append=True)

    @property
    def endpoint(self) -> str:
        return f"https://{self.address}"

    def _command(self) -> Sequence[str]:
        folder = self.folder
        return (
            *super()._command(),
            *(f"--cert-file={folder / 'server.pem'}", f"--key-file={folder / 'server.key'}"),
            *("--client-cert-auth", f"--trusted-ca-file={folder / 'ca.pem'}"),
        )

    def _is_ready(self) -> bool:
        return True  # it listens; its health is behind TLS


async def test_tls_with_certificates_of_both_sides(tmp_path: Path) -> None:
    server = TlsEtcd(tmp_path, trustme.CA())
    with running(server):
        tls = ClientTls(
            ca_file=tmp_path / "ca.pem",
            cert_file=tmp_path / "client.pem",
            key_file=tmp_path / "client.key",
        )
        async with open_etcd_kv([server.endpoint], cluster=CLUSTER, tls=tls, rand=SystemRand()) as kv:
            await _until_reached(kv, "a")
            assert (await kv.txn([], [Put(key="a", value=b"1")])).succeeded
        stranger = ClientTls(ca_file=tmp_path / "ca.pem")
        async with open_etcd_kv([server.endpoint], cluster=CLUSTER, tls=stranger, rand=SystemRand()) as kv:
            with pytest.raises(Unavailable):
                await kv.get("a")


async def test_clusters_share_an_etcd_and_see_nothing_of_each_other(etcd: Etcd) -> None:
    rand = SystemRand()
    async with (
        open_etcd_kv([etcd.endpoint], cluster="one", rand=rand) as one,
        open_etcd_kv([etcd.endpoint], cluster="one-more", rand=rand) as other,
    ):
        await one.txn([], [Put(key="a", value=b"1")])
        await other.txn([], [Put(key="a", value=b"2")])
        item = await one.get("a")
        assert item is not None
        assert item.value == b"1"
        assert len((await one.range("")).items) == 1
        guard = ModRevisionIs(key="a", revision=item.mod_revision)
        assert not (await other.txn([guard], [Put(key="a", value=b"3")])).succeeded


async def test_a_lease_that_nobody_renews_is_over(etcd: Etcd) -> None:
    async with opened(etcd.endpoint) as kv:
        with pytest.raises(NotFound):
            await kv.keep_alive((await kv.grant_lease(ttl_seconds=60)) + 1)  # type: ignore[arg-type]


def test_calls_end_before_a_lease_does() -> None:
    """A renewal that hangs must leave time for another one, at the shortest lease there is by default."""
    assert etcd_client.CALL_SECONDS_MAX < 6
