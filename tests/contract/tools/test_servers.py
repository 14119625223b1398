"""The real servers start, answer, die, and come back with their data."""

import subprocess

import pytest

from tests.support.servers import open_etcd, open_minio, restart
from tools import servers
from tools.servers import Etcd, Minio, ServerError, free_ports
from tools.toolchain import kafka_command, tool_path


def etcdctl(etcd: Etcd, *args: str) -> str:
    command = [str(tool_path("etcdctl")), f"--endpoints={etcd.address}", *args]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout


async def test_etcd_keeps_its_data_and_port_over_a_kill() -> None:
    async with open_etcd() as etcd:
        etcdctl(etcd, "put", "k", "v")
        address = etcd.address
        etcd.kill()
        assert not etcd.running
        await restart(etcd)
        assert etcd.address == address
        assert etcdctl(etcd, "get", "k", "--print-value-only") == "v\n"


async def test_minio_keeps_its_buckets_over_a_kill() -> None:
    async with open_minio("first") as minio:
        folder = minio.folder
        minio.kill()
        await restart(minio)
        assert (folder / "data" / "first").is_dir()
        assert minio.create_bucket("second") == "second"
    assert not minio.running
    assert not folder.exists()


def test_a_lost_port_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    with servers.minio_server() as first:
        handed_out = [first.ports, free_ports(1)]
        monkeypatch.setattr(servers, "free_ports", lambda _count: handed_out.pop(0))
        with servers.minio_server() as second:
            assert second.ports != first.ports
        assert handed_out == []


def test_a_server_that_cannot_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Minio, "secret_key", "short")
    with (
        pytest.raises(ServerError, match=r"(?s)minio ended with .* at start:.*credentials"),
        servers.minio_server(),
    ):
        pass


def test_kafka_serves_its_own_tools_and_kcat() -> None:
    with servers.kafka_broker(partitions_default=3) as broker:
        create = ("--create", "--topic", "t", "--bootstrap-server", broker.address)
        command = kafka_command("org.apache.kafka.tools.TopicCommand", *create)
        created = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        assert created.stdout.strip() == "Created topic t."
        kcat = (str(tool_path("kcat")), "-b", broker.address, "-t", "t")
        subprocess.run((*kcat, "-P"), input=b"hello\n", check=True, timeout=60)
        read = subprocess.run((*kcat, "-C", "-e", "-q"), capture_output=True, check=True, timeout=60)
        assert read.stdout == b"hello\n"
        metadata = subprocess.run((*kcat, "-L"), capture_output=True, text=True, check=True, timeout=60)
        assert 'topic "t" with 3 partitions' in metadata.stdout
