"""Bugs against the rules of owning a partition: design section 3, rules 10 to 14.

Owns: these bugs. Does not own: how they are planted.
"""

from tests.sim.planted.bug import Change, PlantedBug

_OPENING = "services.partition_owner.opening"
_HANDOVER = "services.partition_owner.handover"
_LANE = "services.gateway.routing.append_lane"
_FETCHING = "services.partition_owner.fetching"
_ATTEMPTS = """        failures = 0
        while True:
            try:
                async with places:
"""

BUGS = (
    PlantedBug(
        name="opened_before_sealed",
        rule="10",
        checker="p1_durable",
        what="a new owner looks where the chain of the old one ends, and does not seal it there",
        changes=(
            Change(
                "services.partition_owner.sealing",
                "                    for seq, created in await self._put_seals(session, seqs, by):\n"
                "                        plan = plan.put(seq, created=created)\n",
                "                    for seq in seqs:\n"
                "                        plan = plan.put(seq, created=by is not None)\n",
            ),
        ),
    ),
    PlantedBug(
        name="open_position_not_written",
        rule="10",
        checker="p1_durable",
        what="an owner appends although the metadata store does not know where",
        changes=(
            Change(
                _OPENING,
                "                    if state is not None:\n                        new_scope",
                "                    if state is None:\n                        new_scope",
            ),
        ),
    ),
    PlantedBug(
        name="release_before_durable",
        rule="11; KafScale",
        checker="p1_durable",
        what="a partition is handed over while its last objects are in flight",
        changes=(
            Change(
                _HANDOVER,
                "            await self._flusher.wait_durable(partition.last_seq)\n"
                "        assert partition.log.durable == partition.log.assigned\n",
                "            partition.last_seq = min(partition.last_seq,"
                " self._flusher.statistics().durable_seq - 1)\n",
            ),
            Change(
                _HANDOVER,
                "                    released_offset=Offset(partition.log.assigned),\n",
                "                    released_offset=Offset(partition.log.durable),\n",
            ),
        ),
    ),
    PlantedBug(
        name="serves_after_release",
        rule="11",
        checker="p1_durable",
        what="an owner whose release was sent takes appends again under the same epoch",
        changes=(
            Change(
                _HANDOVER,
                "        finally:\n            self._registry.drop(partition)\n",
                "        finally:\n            partition.phase = PartitionPhase.OPEN\n",
            ),
            Change(
                "services.partition_owner.assignments",
                "        if hold.partition is not None:\n            self._registry.drop(hold.partition)\n\n",
                "        if hold.partition is not None and hold.wanted is not Wanted.LOST:\n"
                "            self._registry.drop(hold.partition)\n"
                "\n",
            ),
        ),
    ),
    PlantedBug(
        name="later_batch_overtakes",
        rule="12",
        checker="p3_no_holes",
        what="a gateway sends later batches to the new owner while earlier ones are open at the old one",
        changes=(
            Change(
                _LANE,
                "        if self._in_flight and (self._in_flight_route != route"
                " or self._refused_by is not None):\n",
                "        if self._in_flight and self._refused_by is not None:\n",
            ),
        ),
    ),
    PlantedBug(
        name="unknown_sent_again",
        rule="12",
        checker="p3_no_holes",
        what="a gateway sends batches again whose outcome is unknown, instead of telling the client",
        changes=(
            Change(
                _LANE,
                "        settled = self._give_back(kept, now)\n"
                "        return settled + self._give_up(unknown, now)\n",
                "        return self._give_back(unknown + kept, now)\n",
            ),
        ),
    ),
    PlantedBug(
        name="out_of_range_without_a_fence",
        rule="13; KafScale",
        checker="p4_frontiers",
        what="an owner that had a partition once answers OFFSET_OUT_OF_RANGE for valid offsets for ever",
        changes=(
            Change(
                _FETCHING,
                "            await fence(self._registry,"
                " seconds_max=max(request.max_wait_seconds, FENCE_SECONDS_MAX))\n",
                "            await trio.sleep(0.0 * FENCE_SECONDS_MAX)\n",
            ),
            Change(
                "services.partition_owner.registry",
                "        self._partitions.clear()\n"
                "        for partition in dropped:\n"
                "            partition.close()\n",
                "        assert dropped is not None\n",
            ),
        ),
    ),
    PlantedBug(
        name="log_start_before_commit",
        rule="14",
        checker="p4_frontiers",
        what="a new log start is served while the metadata store does not have it yet",
        changes=(
            Change(
                "services.partition_owner.compaction.delete_records",
                "        if start > log.log_start:\n",
                "        if start > log.log_start:\n            log.advance_log_start(start)\n",
            ),
        ),
    ),
    PlantedBug(
        name="unknown_not_read_back",
        rule="14",
        checker="p1_durable",
        what="an opening whose outcome is unknown is taken as done",
        changes=(
            Change(
                _OPENING,
                "await self._metadata.open_partition(tp, record, state)\n",
                "await _taken_as_done("
                "self._metadata.open_partition(tp, record, state), replace(record, state=state))\n",
            ),
            Change(
                _OPENING,
                _ATTEMPTS,
                "        from tests.sim.planted.helpers import taken_as_done as _taken_as_done\n\n"
                + _ATTEMPTS,
            ),
        ),
    ),
)
