"""Bugs against the changes of topics: partitions and configs, guarded by the topic that was decided on.

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
)
