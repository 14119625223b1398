"""Commits through two coordinators that fight for one group, over a store that loses, repeats and delays.

The sentence that is checked: once a commit was acknowledged, no fetch ever tells an older offset.
"""

from random import Random

import pytest
import trio.testing

from libs.model.errors import KafscaleError, Unavailable
from libs.model.ids import Partition, ReplicaId, TopicPartition
from tests.unit.services.metadata.groups.cluster import Cluster, open_cluster
from tests.unit.services.metadata.groups.support import GROUP, TOPIC_ID, commit_of

AT = TopicPartition(TOPIC_ID, Partition(0))
STEPS = 60


def hurt(kv_random: Random, cluster: Cluster) -> None:
    kv = cluster.kv
    match kv_random.randrange(8):
        case 0:
            kv.lose_replies = kv_random.randrange(3)
        case 1:
            kv.lose_requests = kv_random.randrange(3)
        case 2:
            kv.delay_requests = kv_random.randrange(3)
        case 3:
            kv.is_down = not kv.is_down
        case _:
            kv.is_down = False


async def stored_offset(cluster: Cluster, replica_id: ReplicaId) -> int:
    offsets = await cluster.groups[replica_id].offsets.fetch(GROUP, [AT])
    return offsets[0].offset if offsets else -1


@pytest.mark.parametrize("seed", range(40))
async def test_what_was_acknowledged_is_never_undone(
    autojump_clock: trio.testing.MockClock, seed: int
) -> None:
    random = Random(seed)
    acknowledged = attempted = -1
    async with open_cluster("r1", "r2") as (cluster, _):
        cluster.own_views = {each: {each: cluster.view[each]} for each in cluster.view}
        replicas = list(cluster.view)
        for _step in range(STEPS):
            hurt(random, cluster)
            attempted += 1
            try:
                offsets = cluster.groups[random.choice(replicas)].offsets
                await offsets.commit(commit_of(0, offset=attempted))
                acknowledged = attempted
            except KafscaleError:
                pass
            if random.random() < 0.3:
                await cluster.kv.deliver_late()
            try:
                seen = await stored_offset(cluster, random.choice(replicas))
            except Unavailable:
                continue
            assert acknowledged <= seen <= attempted
        cluster.kv.is_down = False
        await trio.sleep(60)
        await cluster.kv.deliver_late()
        assert acknowledged <= await stored_offset(cluster, replicas[0]) <= attempted
        assert acknowledged > 0, "the faults left something to check"
