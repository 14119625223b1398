"""Bugs against changes: of topics, guarded by the topic that was decided on, and of who has which partition.

Owns: these bugs. Does not own: how they are planted.
"""

from tests.sim.planted.bug import Change, PlantedBug

_CHANGES = "services.metadata.topic_changes"

BUGS = (
    PlantedBug(
        name="topic_shrinks",
        rule="changes",
        checker="topic_changes",
        what="a topic gets fewer partitions where somebody asks for fewer",
        changes=(
            Change(
                _CHANGES,
                "    if not have < wanted <= PARTITIONS_PER_TOPIC_MAX:\n",
                "    if not 0 < wanted <= PARTITIONS_PER_TOPIC_MAX:\n",
            ),
        ),
    ),
    PlantedBug(
        name="change_unguarded",
        rule="changes",
        checker="topic_changes",
        what="a change is written over whatever the topic has become since it was read",
        changes=(
            Change(
                "services.metadata.topics",
                "            revision = await write(self._kv, [guard], [Put(",
                "            revision = await write(self._kv, [guard][:0], [Put(",
            ),
        ),
    ),
    PlantedBug(
        name="growth_without_owners",
        rule="changes",
        checker="topic_changes",
        what="a topic that grew counts as live: nobody gives its new partitions an owner",
        changes=(
            Change(
                _CHANGES,
                "    live = topic.live and partitions == topic.partitions\n",
                "    live = topic.live\n",
            ),
        ),
    ),
    PlantedBug(
        name="config_not_unset",
        rule="changes",
        checker="topic_changes",
        what="a config that is to go back to its default stays as it is set",
        changes=(
            Change(
                _CHANGES,
                "for name, value in topic.configs.items() if name not in wanted.unset}\n",
                "for name, value in topic.configs.items()}\n",
            ),
        ),
    ),
    PlantedBug(
        name="configs_of_the_opening",
        rule="changes",
        checker="no_orphan",
        what="an owner goes by the configs that a topic had when it opened the partition",
        changes=(
            Change(
                "services.partition_owner.assignments",
                "                if held is not None and held.topic is not topic:\n",
                "                if held is not None and held.topic is topic:\n",
            ),
        ),
    ),
    PlantedBug(
        name="shares_not_evened_out",
        rule="changes",
        checker="shares",
        what="nobody gives an owner that came back, or a new one, its share",
        changes=(
            Change(
                "services.metadata.planning",
                "    moves = rebalance(candidates, today, moves_max=room)\n",
                "    moves = rebalance(candidates[:1], today, moves_max=room)\n",
            ),
        ),
    ),
)
