"""Bugs against the rules of compaction, retention and collection: design section 3, rules 15 to 17.

Owns: these bugs. Does not own: how they are planted.
"""

from tests.sim.planted.bug import Change, PlantedBug

_DECIDE = "services.partition_owner.collection.decide"
_COMPACTOR = "services.partition_owner.compaction.compactor"
_RETENTION = "services.partition_owner.compaction.retention"

BUGS = (
    PlantedBug(
        name="snapshot_left_behind",
        rule="15",
        checker="p3_no_holes",
        what="a manifest has the producer snapshot of the one before: it ends below the manifest's end",
        changes=(
            Change(
                _COMPACTOR,
                "                producers=built.producers,\n",
                "                producers=tuple(before),\n",
            ),
        ),
    ),
    PlantedBug(
        name="snapshot_lost",
        rule="15",
        checker="p3_no_holes",
        what="an opening passes over the manifest's producers: duplicates of what was compacted are new",
        changes=(
            Change(
                "services.partition_owner.rebuild",
                "        producers.restore_snapshot(manifest.producers, now=now)\n",
                "",
            ),
        ),
    ),
    PlantedBug(
        name="positions_forgotten_too_early",
        rule="15",
        checker="p1_durable",
        what="a compaction forgets all of the chain below its durable end, also what it did not rewrite",
        changes=(
            Change(
                "services.partition_owner.compaction.positions",
                "    own_seq = first.get((own.session, own.leader_epoch), durable_seq)\n",
                "    own_seq = durable_seq\n",
            ),
        ),
    ),
    PlantedBug(
        name="current_epoch_is_unnamed",
        rule="16",
        checker="no_live_collected",
        what="unnamed objects of the current epoch are deleted: uploads that are about to be committed",
        changes=(
            Change(
                _DECIDE,
                "        return segment.leader_epoch < references.leader_epoch\n"
                "    manifest = parse_manifest_key(key)\n"
                "    return manifest is not None and manifest[1].leader_epoch < references.leader_epoch\n",
                "        return segment.leader_epoch <= references.leader_epoch\n"
                "    manifest = parse_manifest_key(key)\n"
                "    return manifest is not None and manifest[1].leader_epoch <= references.leader_epoch\n",
            ),
        ),
    ),
    PlantedBug(
        name="states_not_referenced",
        rule="16",
        checker="no_live_collected",
        what="an owner collects its chain by its own memory alone: what others still name goes",
        changes=(
            Change(
                _DECIDE,
                "    if found.least_from_seq is not None:\n        needed.append(found.least_from_seq)\n",
                "",
            ),
            Change(
                _DECIDE,
                "    return end if found.least_from_seq is None else min(end, found.least_from_seq)\n",
                "    return end\n",
            ),
        ),
    ),
    PlantedBug(
        name="retention_takes_the_young",
        rule="17",
        checker="p1_durable",
        what="retention by time keeps only half as long as it should",
        changes=(
            Change(
                _RETENTION,
                "        start = max(start, _by_time(log, now_ms - policy.retention_ms))\n",
                "        start = max(start, _by_time(log, now_ms - policy.retention_ms // 2))\n",
            ),
        ),
    ),
    PlantedBug(
        name="retention_never_applied",
        rule="17; KafScale",
        checker="no_orphan",
        what="retention is stored, and nothing goes by it",
        changes=(
            Change(
                "services.partition_owner.compaction.background",
                "        if start <= plog.log_start:\n",
                "        if start >= plog.log_start:\n",
            ),
        ),
    ),
    PlantedBug(
        name="retention_by_size_takes_one_more",
        rule="17",
        checker="p1_durable",
        what="retention by size goes on until less than the limit stays",
        changes=(
            Change(
                _RETENTION,
                "        if segment.size_bytes > left_bytes:\n",
                "        if left_bytes <= -4 * segment.size_bytes:\n",
            ),
            Change(
                _RETENTION,
                "        if found.size_bytes > left_bytes:\n",
                "        if left_bytes <= -4 * found.size_bytes:\n",
            ),
        ),
    ),
    PlantedBug(
        name="dropped_before_commit",
        rule="17",
        checker="no_live_collected",
        what="segments are handed to collection before the manifest without them is committed",
        changes=(
            Change(
                "services.partition_owner.compaction.committing",
                "                record = await self._send(partition, record, wanted)\n",
                "                if manifest is not None and partition.manifest is not None:\n"
                "                    gone = {each.name for each in partition.manifest.segments}"
                " - {each.name for each in manifest.segments}\n"
                "                    keys = [segment_key(partition.folder, each) for each in gone]\n"
                "                    self._dropped.add(partition.tp, keys, now=0.0)\n"
                "                record = await self._send(partition, record, wanted)\n",
            ),
        ),
    ),
    PlantedBug(
        name="retention_by_size_not_applied",
        rule="17; KafScale",
        checker="no_orphan",
        what="retention.bytes is stored and never applied",
        changes=(
            Change(
                _RETENTION,
                "        start = max(start, _by_size(log, policy.retention_bytes))\n",
                "        start = min(start, _by_size(log, policy.retention_bytes))\n",
            ),
        ),
    ),
    PlantedBug(
        name="segments_below_the_start_stay",
        rule="17",
        checker="no_orphan",
        what="a log start moves, and the segments below it stay until something is compacted",
        changes=(
            Change(
                "services.partition_owner.compaction.background",
                "    return bool(segments) and segments[0].last_offset < partition.log.log_start\n",
                "    return bool(segments) and segments[0].last_offset < -partition.log.log_start\n",
            ),
        ),
    ),
    PlantedBug(
        name="deleted_topics_left",
        rule="17; KafScale",
        checker="no_orphan",
        what="DeleteTopics leaves all objects of the topic",
        changes=(
            Change(
                "services.partition_owner.collection.unowned",
                "            garbage = topic_garbage(topic.topic_id, page.objects)\n",
                "            garbage = topic_garbage(topic.topic_id, ())\n",
            ),
            Change(
                "services.partition_owner.collection.sweep",
                "                garbage += topic_garbage(tp.topic_id, listed)\n",
                "                garbage += topic_garbage(tp.topic_id, ())\n",
            ),
        ),
    ),
)
