"""grpcurl finds and calls our services by reflection."""

import json
import subprocess
from pathlib import Path

import pytest
import trio

from libs.rpc import Health, Server, with_reflection
from tests.contract.rpc.certificates import Certificates
from tests.contract.rpc.harness import serving
from tools.toolchain import tool_path


@pytest.fixture(scope="module")
def grpcurl() -> Path:
    return tool_path("grpcurl")


async def _run(*command: str | Path) -> subprocess.CompletedProcess[bytes]:
    with trio.fail_after(60):
        return await trio.run_process(
            list(map(str, command)), capture_stdout=True, capture_stderr=True, check=False
        )


async def test_grpcurl_lists_describes_and_calls(grpcurl: Path) -> None:
    health = Health()
    health.set_serving(True)
    async with serving(Server(with_reflection([health]))) as address:
        listed = await _run(grpcurl, "-plaintext", address, "list")
        assert listed.stdout.decode().split() == [
            "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection",
            "grpc.reflection.v1alpha.ServerReflection",
        ]
        described = await _run(grpcurl, "-plaintext", address, "describe", "grpc.health.v1.Health")
        assert b"rpc Watch" in described.stdout
        called = await _run(grpcurl, "-plaintext", address, "grpc.health.v1.Health/Check")
        assert json.loads(called.stdout) == {"status": "SERVING"}
        unknown = await _run(
            grpcurl, "-plaintext", "-d", '{"service": "nothing"}', address, "grpc.health.v1.Health/Check"
        )
        assert unknown.returncode != 0
        assert b"NotFound" in unknown.stderr
        missing = await _run(grpcurl, "-plaintext", address, "describe", "no.such.Service")
        assert missing.returncode != 0


async def test_grpcurl_over_mutual_tls(grpcurl: Path, certificates: Certificates) -> None:
    health = Health()
    health.set_serving(True)
    tls = certificates.server(mutual=True)
    async with serving(Server(with_reflection([health])), tls=tls) as address:
        called = await _run(
            grpcurl, "-cacert", certificates.ca_file, "-cert", certificates.client_cert,
            "-key", certificates.client_key, address, "grpc.health.v1.Health/Check",
        )  # fmt: skip
        assert json.loads(called.stdout) == {"status": "SERVING"}
        refused = await _run(grpcurl, "-cacert", certificates.ca_file, "-max-time", "5", address, "list")
        assert refused.returncode != 0
