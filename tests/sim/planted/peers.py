"""Bugs that others had, where no rule of the chain has them already; and one for each promise at least.

Owns: these bugs. Does not own: how they are planted.
"""

from tests.sim.planted.bug import Change, PlantedBug

_STATE = "services.metadata.groups.state"

BUGS = (
    PlantedBug(
        name="topic_keyed_by_name",
        rule="KafScale",
        checker="p8_recreated",
        what="a topic's id is made of its name: what is recreated is the old one",
        changes=(
            Change(
                "services.metadata.topics",
                "            topic_id=TopicId(self._rand.uuid()),\n",
                "            topic_id=TopicId(uuid5(NAMESPACE_DNS, wanted.name)),\n",
            ),
            Change(
                "services.metadata.topics",
                "        check_topic_name(wanted.name)\n        partitions = wanted.partitions\n",
                "        from uuid import NAMESPACE_DNS, uuid5\n\n"
                "        check_topic_name(wanted.name)\n        partitions = wanted.partitions\n",
            ),
        ),
    ),
    PlantedBug(
        name="offsets_keyed_by_partition",
        rule="KafScale",
        checker="groups",
        what="committed offsets are keyed without the topic's id",
        changes=(
            Change(
                "services.metadata.groups.keys",
                '    return f"{offsets_prefix(group)}{at.topic_id}/{at.partition}"\n',
                '    return f"{offsets_prefix(group)}{UUID(int=0)}/{at.partition}"\n',
            ),
        ),
    ),
    PlantedBug(
        name="assignment_replaced",
        rule="KafScale",
        checker="groups",
        what="the coordinator hands the leader's assignments out as it likes",
        changes=(
            Change(
                _STATE,
                "assignments = {each.member_id: each.assignment for each in request.assignments}\n",
                "parts = sorted(each.assignment for each in request.assignments)\n"
                "            assignments = dict("
                "zip((each.member_id for each in request.assignments), parts, strict=True))\n",
            ),
        ),
    ),
    PlantedBug(
        name="missing_commit_is_0",
        rule="KafScale, Bufstream",
        checker="groups",
        what="where nothing was committed, OffsetFetch answers 0",
        changes=(
            Change(
                "services.gateway.handlers.api_09_offset_fetch",
                "        committed_offset=_NO_OFFSET if commit is None else commit.offset,\n",
                "        committed_offset=0 if commit is None else commit.offset,\n",
            ),
        ),
    ),
    PlantedBug(
        name="zombie_commits",
        rule="groups",
        checker="groups",
        what="commits of older generations are accepted, also of members that were put out long ago",
        changes=(
            Change(
                _STATE,
                "        member = self._roster.check(request.member_id, request.group_instance_id)\n"
                "        self._check_generation(request.generation)\n"
                "        if self.phase is GroupPhase.COMPLETING_REBALANCE:\n",
                "        if self.phase is GroupPhase.COMPLETING_REBALANCE:\n",
            ),
            Change(
                _STATE,
                "heartbeats tell the member of it.\n        member.refresh(now)\n",
                "heartbeats tell the member of it.\n",
            ),
        ),
    ),
    PlantedBug(
        name="blind_group_writes",
        rule="KafScale",
        checker="groups",
        what="offsets are written without comparing the coordinator's claim",
        changes=(
            Change(
                "services.metadata.groups.journal",
                "            result = await self._kv.txn(compares, list(ops.values()))\n",
                "            result = await self._kv.txn(compares[:0], list(ops.values()))\n",
            ),
        ),
    ),
    PlantedBug(
        name="blind_commit",
        rule="15; KafScale",
        checker="p1_durable",
        what="a commit compares nothing: an owner that was left behind writes over its successor's",
        changes=(
            Change(
                "services.metadata.partitions",
                """        check_holder(at, record.assignment.value, session, leader_epoch)
        if (record.assignment.revision, record.state_revision) != (assignment_revision, state_revision):
            raise _changed(at)
        check_commit(at, record.assignment.value, None if record.state is None else record.state.value, new)
""",
                "",
            ),
        ),
    ),
    PlantedBug(
        name="outage_of_metadata_stops_owners",
        rule="promise 6",
        checker="p6_data_path",
        what="an owner that can't renew its lease stops serving",
        changes=(
            Change(
                "services.partition_owner.session",
                "                pause_seconds = third_seconds * _RENEW_AGAIN_SHARE\n",
                "                flusher.end(error)\n                return\n",
            ),
        ),
    ),
    PlantedBug(
        name="lost_watch_forgets",
        rule="promise 6",
        checker="p6_data_path",
        what="a gateway or an owner whose watch breaks forgets what it had heard",
        changes=(
            Change(
                "libs.clients.watcher",
                "                self.view.forget_partial_snapshot()\n",
                "                self.view.__init__()\n",
            ),
        ),
    ),
    PlantedBug(
        name="store_trouble_ends_the_process",
        rule="promise 7; KafScale",
        checker="p7_never_lies",
        what="a 503 of the store while a chain is written ends the owner",
        changes=(
            Change(
                "services.partition_owner.chain_writer",
                "            except (Unavailable, Invalid) as error:\n"
                "                failures += 1\n"
                "                self.retries += 1\n",
                "            except Invalid as error:\n"
                "                failures += 1\n"
                "                self.retries += 1\n",
            ),
        ),
    ),
    PlantedBug(
        name="open_fate_told_as_failure",
        rule="promise 7",
        checker="p7_never_lies",
        what="a batch that an owner took with it is answered as if it could never be stored",
        changes=(
            Change(
                "services.gateway.routing.append_lane",
                '        error = Unavailable("the owner went away with this batch", outcome_unknown=True)\n',
                "        from libs.model.errors import Invalid\n\n"
                '        error = Invalid("the owner went away with this batch")\n',
            ),
        ),
    ),
    PlantedBug(
        name="flushed_by_size_only",
        rule="promise 7; KafScale, Bufstream",
        checker="p7_never_lies",
        what="nothing is flushed because time passed: who sends little waits for ever",
        changes=(
            Change(
                "services.partition_owner.flusher",
                "                await self._wake.wait_until(due)\n",
                '                await self._wake.wait_until(float("inf"))\n',
            ),
        ),
    ),
    PlantedBug(
        name="buffer_without_a_bound",
        rule="promise 7",
        checker="p7_never_lies",
        what="unflushed bytes are counted and not bounded",
        changes=(
            Change(
                "libs.concurrency.byte_budget",
                "        if not self._waiting and self._fits(size_bytes):\n",
                "        if not self._waiting:\n",
            ),
        ),
    ),
)
