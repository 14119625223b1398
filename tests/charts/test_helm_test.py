"""The script of `helm test` against a platform: it reads back what it produced, or says what was wrong."""

import subprocess
import sys
from pathlib import Path

import trio

from tests.support.certificates import issue
from tests.support.charts import CHART, Helm
from tools.servers import free_ports
from tools.stack.embedded import open_embedded

SCRIPT = CHART / "files" / "produce_and_consume.py"


async def check(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    """As in the pod: the file alone, and nothing of this tree to import."""
    command = [sys.executable, "-I", str(SCRIPT), *arguments]
    return await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False, cwd="/")


async def test_it_produces_and_consumes(tmp_path: Path) -> None:
    async with open_embedded(tmp_path / "data") as embedded:
        for offset in range(2):
            done = await check(embedded.bootstrap, "helm-test")
            assert done.returncode == 0, done.stdout + done.stderr
            said = done.stdout.decode().splitlines()[-1]
            assert said == f"produced offset {offset} of helm-test at {embedded.bootstrap} and read it back"


async def test_it_speaks_tls(tmp_path: Path) -> None:
    certificate = issue(tmp_path / "secret", "127.0.0.1")
    settings = {
        "KAFSCALE_KAFKA_TLS_CERT_FILE": str(certificate.cert_file),
        "KAFSCALE_KAFKA_TLS_KEY_FILE": str(certificate.key_file),
    }
    async with open_embedded(tmp_path / "data", **settings) as embedded:
        done = await check(f"ssl://{embedded.bootstrap}", "helm-test")
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.endswith(f"at ssl://{embedded.bootstrap} and read it back\n".encode())
        done = await check(embedded.bootstrap, "helm-test", "0")
        assert done.returncode == 1


async def test_it_says_what_is_wrong() -> None:
    (port,) = free_ports(1)
    done = await check(f"127.0.0.1:{port}", "helm-test", "0")
    assert done.returncode == 1
    assert done.stdout.startswith(b"not yet: ")
    assert b"refused" in done.stdout


def test_the_pod_has_the_script(helm: Helm) -> None:
    rendered = helm.render_file("default")
    assert rendered.one("ConfigMap", "events-test")["data"]["produce_and_consume.py"] == SCRIPT.read_text()
    pod = rendered.one("Pod", "events-test")
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert pod["spec"]["containers"][0]["command"][-2:] == ["events-broker:9092", "kafscale-helm-test"]
    pod = helm.render_file("everything").one("Pod", "orders-test")
    assert pod["spec"]["containers"][0]["command"][-2] == "ssl://orders-broker:9092"
