"""The factory without S3 (the contract suite opens that)."""

import subprocess
import sys
from pathlib import Path

import pytest

from libs.concurrency.rand import SystemRand
from libs.model.errors import Invalid
from libs.objectstore.opening import ObjectStoreSettings, open_object_store
from libs.objectstore.port import PutResult


class Recorded:
    def __init__(self) -> None:
        self.operations: list[str] = []

    def observe(self, operation: str, outcome: str, seconds: float, size_bytes: int) -> None:
        self.operations.append(operation)


async def test_a_directory_is_opened_probed_measured_and_closed(tmp_path: Path) -> None:
    recorder = Recorded()
    settings = ObjectStoreSettings(directory=str(tmp_path / "new" / "data"), namespace="ns")
    async with open_object_store(settings, rand=SystemRand(), recorder=recorder) as opened:
        assert "put_if_absent" in recorder.operations
        assert await opened.store.put_if_absent("a", b"1") is PutResult.CREATED
        assert opened.threads.statistics()["object-put"].threads_max == settings.puts_max
        assert (tmp_path / "new/data/objects/ns.d/a").read_bytes() == b"1"
    async with open_object_store(settings, rand=SystemRand()) as opened:
        assert await opened.store.get("a") == b"1"


async def test_nothing_set_is_refused() -> None:
    with pytest.raises(Invalid, match="KAFSCALE_S3_BUCKET"):
        async with open_object_store(ObjectStoreSettings(), rand=SystemRand()):
            pass


def test_a_directory_needs_no_boto3() -> None:
    code = "import sys, libs.objectstore.opening; sys.exit('boto3' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[4], check=False).returncode
        == 0
    )
