"""What it costs to open one partition with a backlog, on a real MinIO: `python -m tests.chaos.opening`.

Owns: the command. Does not own: the backlog (tests/support/backlog.py), what clients see (takeover.py).
Each request is held before it is sent: unlike behind a proxy, waiting takes nobody's processor. The owner's
metadata is in the same process.
"""

import argparse
import os
import sys
import time

import trio
from pydantic import SecretStr

from libs.objectstore.pools import store_threads
from libs.objectstore.s3 import S3Settings, open_s3_store
from services.partition_owner.config import OwnerOptions
from tests.chaos.takeover import backlog_objects
from tests.support.backlog import dead_owner, wait_open
from tests.support.servers import open_minio

BUCKET = "backlog"


def main() -> int:
    parser = argparse.ArgumentParser(prog="opening", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long the dead owner wrote")
    parser.add_argument("--delay-ms", type=float, default=30.0, help="what each request takes more")
    parser.add_argument("--times", type=int, default=3, help="repetitions, each on a new bucket")
    options = parser.parse_args()
    for _ in range(options.times):
        trio.run(_once, options.minutes, options.delay_ms / 1000)
    return 0


async def _once(minutes: float, delay_seconds: float) -> None:
    objects = backlog_objects(minutes, delay_seconds)
    gets_max = OwnerOptions().opening_gets_max
    async with open_minio(BUCKET) as minio:
        settings = S3Settings(
            bucket=BUCKET,
            endpoint=minio.endpoint,
            access_key=minio.access_key,
            secret_key=SecretStr(minio.secret_key),
        )
        threads = store_threads(puts_max=4, gets_max=gets_max)
        async with (
            open_s3_store(settings, threads=threads, connections_max=gets_max + 4) as store,
            dead_owner(store, 1, delay_seconds=delay_seconds) as (cluster, backlog, delayed),
        ):
            await backlog.write(objects)
            load, computed = os.getloadavg()[0], time.process_time()
            await cluster.start("next", store=delayed)
            seconds = await wait_open(cluster, backlog.tps)
            computed = time.process_time() - computed
            sys.stdout.write(
                f"{objects} chain objects: open after {seconds:.2f} s, {computed:.2f} s of it computing;"
                f" load average {load:.1f}\n"
            )


if __name__ == "__main__":
    sys.exit(main())
