"""A stack loses its etcd, with all that was in it, under the load of real clients: they go on as before."""

import shutil
import signal
import time
from functools import partial
from pathlib import Path

from tests.chaos.load import Truth
from tests.chaos.scene import RECOVERY_SECONDS_MAX, Scene, scene_under_load
from tests.recovery.bucket_command import BucketCommand, of_stack
from tests.support.background import running
from tests.support.platform import open_platform
from tools.stack.layout import GATEWAYS, METADATA, OWNERS

TOPIC = "survivors"
SETTINGS = {
    "KAFSCALE_SNAPSHOT_SECONDS": "2",
    "KAFSCALE_COMPACTION_AGE_SECONDS": "2",
    "KAFSCALE_COMPACTION_BEHIND_SECONDS": "1",
    "KAFSCALE_COMPACTION_CHECK_SECONDS": "0.5",
    "KAFSCALE_COLLECTION_CHECK_SECONDS": "1",
    "KAFSCALE_COLLECTION_DELAY_SECONDS": "1",
    "KAFSCALE_LOG_LEVEL": "debug",
}
"""Whatever a bucket goes through in days, in seconds."""
LOAD_SECONDS = 12.0  # librdkafka commits every five
BACK_SECONDS_MAX = 3 * RECOVERY_SECONDS_MAX  # its producers wait ever longer for a cluster that is away


def wipe(scene: Scene) -> None:
    """kill -9 of everything but MinIO; etcd comes back with nothing."""
    for name in (*GATEWAYS, *OWNERS, *METADATA, "etcd"):
        scene.child(name).send(signal.SIGKILL)
        scene.wait_ended(name)
    shutil.rmtree(scene.stack.data_dir / "etcd")
    scene.restart("etcd")


def start_services(scene: Scene) -> None:
    for name in (*METADATA, *OWNERS, *GATEWAYS):
        scene.restart(name)


def test_nothing_acknowledged_is_lost_with_the_metadata_store(tmp_path: Path) -> None:
    with running(partial(open_platform, "stack", tmp_path, **SETTINGS)) as background:
        scene = Scene(background)
        bucket = of_stack(scene.stack)
        with scene_under_load(scene, TOPIC) as load:
            truth = Truth(scene.bootstrap, TOPIC)
            time.sleep(LOAD_SECONDS)
            bucket.wait_snapshot(after_ms=int(time.time() * 1000))
            acknowledged = len(load.ledger)
            wipe(scene)
            said = bucket.done("rebuild")
            assert f"{TOPIC}  " in said
            assert " 1 groups, " in said
            again = bucket.run("rebuild")
            assert again.code == 2
            assert "--overwrite" in again.told
            start_services(scene)
            load.wait_all_acknowledged_after(time.monotonic(), seconds_max=BACK_SECONDS_MAX)
            assert scene.verdict(load, truth) == []
            assert len(load.ledger) > acknowledged
            load.end_producing()
            ends = load.ledger.ends()
            load.wait_read(ends, seconds_max=BACK_SECONDS_MAX)
            assert scene.verdict(load, truth) == []
            check_bucket(bucket)
        assert not load.errors


def check_bucket(bucket: BucketCommand) -> None:
    """While everything runs: nothing is wrong, by the metadata and by the bucket alone."""
    assert " 0 errors, 0 warnings" in bucket.done("verify", with_metadata=True)
    assert " 0 errors, 0 warnings" in bucket.done("verify")
