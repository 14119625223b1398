"""Reads from a copy of the bucket: what only the copy has is read, what it lacks comes from the bucket.

The copy is what a store's own replication would have made so far. Owners are made anew before they are asked:
what they have in memory is nobody's bucket.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from tests.chaos.load import PARTITIONS, Load, Truth
from tests.e2e.clusters import OWNER, SMALL, Cluster, cluster_spec, metrics_of, open_cluster, verdict
from tests.e2e.control_plane import wait_until
from tests.e2e.world import World

NAMESPACE = "mirrored"
NAME = "mirrored"
COPY = "mirrored-copy"
HOLD_RECORDS = (".wal", ".kfs", ".index")
OWNERS = 2
SECONDS_MAX = 240.0

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def cluster(world: World, operator: str) -> Iterator[Cluster]:
    world.minio.create_bucket(COPY)
    one = {"replicas": 1, "resources": SMALL}
    spec = cluster_spec(NAMESPACE, gateway=one, owner={**one, "replicas": OWNERS}, metadata=one)
    spec["s3"]["readBucket"] = COPY
    with open_cluster(world, NAMESPACE, NAME, spec) as cluster:
        yield cluster


def test_what_only_the_copy_has_is_read(cluster: Cluster, told: list[str]) -> None:
    with cluster.load("orders") as (load, _):
        load.wait_all_acknowledged_after(load.times.last(0), seconds_max=60)
    renew_owners(cluster)
    with in_the_copy_alone(cluster.world) as moved:
        judge(cluster, load)
    given = copy_gave(cluster, "ok")
    told.append(
        f"{len(load.ledger)} records with {len(moved)} objects in the copy alone, {given} reads of it"
    )
    assert given


def test_what_the_copy_lacks_comes_from_the_bucket(cluster: Cluster, told: list[str]) -> None:
    with cluster.load("behind") as (load, _):
        pass
    renew_owners(cluster)
    judge(cluster, load)
    lacked = copy_gave(cluster, "notfound")
    told.append(f"{len(load.ledger)} records, {lacked} reads that the copy had nothing for")
    assert lacked > 0


def test_a_copy_that_is_not_there_stops_the_roll_and_is_told(cluster: Cluster) -> None:
    """One owner of two doesn't start, and the other one serves on until the name is right again."""
    with cluster.load("misnamed"):
        cluster.wait_spread(OWNERS)
        before = cluster.uids(OWNER)
        cluster.change(s3={"readBucket": "no-such-copy"})
        cluster.wait_told("the read bucket no-such-copy can't be used", seconds_max=SECONDS_MAX)
        assert f"{NAME}-{OWNER} has 1 of 2 pods ready" in cluster.why_not_ready()
        cluster.change(s3={"readBucket": COPY})
        cluster.wait_settled(SECONDS_MAX)
        assert len(set(cluster.uids(OWNER).values()) & set(before.values())) == 1, "the other one went on"


def renew_owners(cluster: Cluster) -> None:
    before = cluster.uids(OWNER)
    for pod in before:
        cluster.world.kubectl("delete", "pod", pod, "--namespace", NAMESPACE)
    wait_until(lambda: cluster.all_new(OWNER, before), "every owner is new", seconds_max=SECONDS_MAX)
    cluster.wait_settled(SECONDS_MAX)


@contextmanager
def in_the_copy_alone(world: World) -> Iterator[list[str]]:
    """Every object with records in it; they are in both again when the block ends."""
    with closing(world.minio.client()) as client:
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=NAMESPACE)
        keys = [found["Key"] for page in pages for found in page.get("Contents", [])]
        moved = [key for key in keys if key.endswith(HOLD_RECORDS)]
        assert moved, keys
        for key in moved:
            client.copy_object(Bucket=COPY, Key=key, CopySource={"Bucket": NAMESPACE, "Key": key})
        try:
            for key in moved:
                client.delete_object(Bucket=NAMESPACE, Key=key)
            yield moved
        finally:
            for key in moved:
                client.copy_object(Bucket=NAMESPACE, Key=key, CopySource={"Bucket": COPY, "Key": key})


def judge(cluster: Cluster, load: Load) -> None:
    """All of it is read once more, by whoever has the partitions now."""
    assert not (found := verdict(load, Truth(cluster.bootstrap, load.topic, partitions=PARTITIONS))), found[
        :5
    ]


def copy_gave(cluster: Cluster, outcome: str) -> int:
    """How many reads of the copy came to that, of all owners that there are."""
    label = f'operation="read_bucket_get",outcome="{outcome}"'
    lines = [line for pod in cluster.pods(OWNER) for line in metrics_of(pod).splitlines()]
    return sum(
        int(float(line.rpartition(" ")[2]))
        for line in lines
        if line.startswith("kafscale_s3_operations_total{") and label in line
    )
