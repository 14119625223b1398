"""A start that can't succeed says why in one line and exits with an error; it never runs on memory."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.servers import free_ports, minio_server
from tools.stack.stack import ROOT

START_SECONDS_MAX = 60


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("KAFSCALE_")}


def _start(module: str, **settings: str) -> tuple[int, str]:
    """Runs a service that is expected to end by itself: exit code and what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", module],
        env={**_environment(), "KAFSCALE_ADMIN_PORT": "0", **settings},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=START_SECONDS_MAX,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def _s3(endpoint: str, bucket: str = "kafscale", secret: str = "wrong-secret") -> dict[str, str]:
    return {
        "KAFSCALE_KAFKA_PORT": "0",
        "KAFSCALE_S3_BUCKET": bucket,
        "KAFSCALE_S3_ENDPOINT": endpoint,
        "KAFSCALE_S3_REGION": "us-east-1",
        "KAFSCALE_S3_ACCESS_KEY": "kafscale-test",
        "KAFSCALE_S3_SECRET_KEY": secret,
    }


def test_a_data_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    # A file in the way refuses root as well, whom permissions don't stop.
    (tmp_path / "file").write_text("in the way")
    data_dir = str(tmp_path / "file" / "data")
    code, said = _start("services.standalone", KAFSCALE_KAFKA_PORT="0", KAFSCALE_DATA_DIR=data_dir)
    assert code == 1
    assert data_dir in said
    assert "KAFSCALE_DATA_DIR" in said


def test_an_operator_without_a_way_to_the_api_server_names_the_setting(tmp_path: Path) -> None:
    missing = str(tmp_path / "kubeconfig")
    code, said = _start("services.operator", KAFSCALE_OPERATOR_KUBECONFIG=missing)
    assert code == 1
    assert "KAFSCALE_OPERATOR_KUBECONFIG" in said


@pytest.mark.parametrize("module", ["services.gateway", "services.standalone"])
def test_a_certificate_that_is_missing_is_named(module: str, tmp_path: Path) -> None:
    missing = str(tmp_path / "tls.crt")
    own = {"KAFSCALE_METADATA_ADDRESSES": f"127.0.0.1:{free_ports(1)[0]}"}
    code, said = _start(
        module,
        KAFSCALE_KAFKA_PORT="0",
        KAFSCALE_KAFKA_TLS_CERT_FILE=missing,
        KAFSCALE_KAFKA_TLS_KEY_FILE=missing,
        **(own if module == "services.gateway" else {"KAFSCALE_DATA_DIR": str(tmp_path)}),
    )
    assert code == 1
    assert f"KAFSCALE_KAFKA_TLS_CERT_FILE: {missing} can't be read" in said


def test_an_s3_endpoint_that_refuses_is_named(tmp_path: Path) -> None:
    endpoint = f"http://127.0.0.1:{free_ports(1)[0]}"
    code, said = _start("services.standalone", KAFSCALE_DATA_DIR=str(tmp_path), **_s3(endpoint))
    assert code == 1
    assert endpoint in said


def test_a_bucket_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with minio_server() as minio:
        settings = _s3(minio.endpoint, "no-such-bucket", minio.secret_key)
        code, said = _start("services.standalone", KAFSCALE_DATA_DIR=str(tmp_path), **settings)
    assert code == 1
    assert "no-such-bucket" in said


def test_wrong_credentials_are_told_and_never_shown(tmp_path: Path) -> None:
    with minio_server() as minio:
        minio.create_bucket("kafscale")
        code, said = _start("services.standalone", KAFSCALE_DATA_DIR=str(tmp_path), **_s3(minio.endpoint))
    assert code == 1
    assert "KAFSCALE_S3_ACCESS_KEY" in said
    assert "wrong-secret" not in said


@pytest.fixture(scope="module", autouse=True)
def without_etcd() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """It is patient for 20 s, since etcd may be starting as well; the other tests run meanwhile."""
    endpoint = f"http://127.0.0.1:{free_ports(1)[0]}"
    settings = {"KAFSCALE_ADMIN_PORT": "0", "KAFSCALE_RPC_PORT": "0", "KAFSCALE_ETCD_ENDPOINTS": endpoint}
    with subprocess.Popen(
        [sys.executable, "-m", "services.metadata"],
        env={**_environment(), **settings},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        yield process, endpoint
        process.kill()


@pytest.mark.parametrize(
    ("variable", "value"),
    [("KAFSCALE_KAFKA_PORT", "banana"), ("KAFSCALE_KAFKA_PROT", "1"), ("KAFSCALE_LEASE_SECONDS", "-1")],
)
def test_a_bad_setting_is_named(tmp_path: Path, variable: str, value: str) -> None:
    code, said = _start("services.standalone", KAFSCALE_DATA_DIR=str(tmp_path), **{variable: value})
    assert code == 2
    assert variable in said
    assert len(said.splitlines()) == 1


def test_a_second_process_on_the_same_data_is_refused(tmp_path: Path) -> None:
    first = subprocess.Popen(
        [sys.executable, "-m", "services.standalone"],
        env={
            **_environment(),
            "KAFSCALE_DATA_DIR": str(tmp_path),
            "KAFSCALE_KAFKA_PORT": "0",
            "KAFSCALE_ADMIN_PORT": "0",
        },
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert first.stderr is not None
    try:
        assert any("process_ready" in line for line in first.stderr)
        code, said = _start("services.standalone", KAFSCALE_KAFKA_PORT="0", KAFSCALE_DATA_DIR=str(tmp_path))
        assert code == 1
        assert str(tmp_path) in said
    finally:
        first.terminate()
        first.communicate(timeout=START_SECONDS_MAX)
    assert first.returncode == 0


def test_an_etcd_that_is_absent_is_named(without_etcd: tuple[subprocess.Popen[str], str]) -> None:
    process, endpoint = without_etcd
    said, _ = process.communicate(timeout=START_SECONDS_MAX)
    assert process.returncode == 1
    assert endpoint in said
