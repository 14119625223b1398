"""Verifies a bucket, while the cluster runs or not: what is in it, and that what counts is all there.

Owns: the order of reading, reading again what is suspected. Does not own: what is right (chains.py,
folders.py, meta.py, partitions.py).
Rules: 1 nothing is written; 2 what is wrong with an object's bytes is reported at once, since objects never
change; 3 what is missing or twice is suspected first: metadata is read, then chains and folders are read
again, then metadata once more, and it counts where the state stayed the same; 4 memory is bounded by the
largest chain or folder, and by the number of partitions.
"""

from contextlib import suppress
from dataclasses import replace

import trio

from libs.model.cluster import PartitionState
from libs.model.errors import Corrupt
from libs.model.ids import ChainSeq, SessionId, TopicId, TopicPartition
from libs.model.references import PartitionReferences
from libs.objectstore.port import ObjectInfo, ObjectStore
from libs.segments.keys import (
    META_PREFIX,
    PartitionFolder,
    parse_chain_object_key,
    partition_prefix,
    session_prefix,
)
from libs.segments.manifest import Manifest, parse_manifest
from services.partition_owner.collection.decide import (
    chain_garbage,
    folder_garbage,
    folder_of,
    manifests_to_read,
    topic_garbage,
)
from tools.bucket.chains import Chain, verify_chain
from tools.bucket.folders import verify_folder
from tools.bucket.known import Known, SnapshotSource, read_known
from tools.bucket.listing import chain_groups, data_objects
from tools.bucket.meta import Meta, verify_meta
from tools.bucket.partitions import Found, Problem, judge_alone, judge_state, wanted_sessions
from tools.bucket.report import Report, Tally
from tools.bucket.work import Options, Progress, Work

_RECHECKS_MAX = 5
_CHAINS_AT_ONCE_MAX = 4


async def verify(
    store: ObjectStore,
    metadata: SnapshotSource | None = None,
    *,
    options: Options | None = None,
    progress: Progress | None = None,
) -> Report:
    """The whole bucket. `metadata`: a MetadataClient of the running cluster; None judges by the bucket alone.

    Raises Unavailable where the store or the metadata can't be read: then nothing is known.
    """
    began_at = trio.current_time()
    work = Work(store, options or Options(), progress or Progress())
    verification = _Verification(work, metadata)
    await verification.run()
    return Report(
        findings=work.findings,
        seen=work.seen,
        garbage=verification.garbage,
        chains=len(verification.found.chains),
        partitions=verification.partitions,
        read_bytes=work.read_bytes,
        seconds=trio.current_time() - began_at,
        revision=None if verification.known is None else verification.known.revision,
        sample=work.options.sample,
    )


class _Verification:
    def __init__(self, work: Work, metadata: SnapshotSource | None) -> None:
        self._work = work
        self._metadata = metadata
        self.known: Known | None = None
        self.found = Found()
        self.garbage: dict[str, Tally] = {}
        self.partitions = 0
        self._needed: dict[SessionId, ChainSeq] = {}
        self._named: set[SessionId] = set()
        self._buried: set[TopicId] = set()
        self._with_objects: dict[TopicId, str] = {}
        """Topics that something is there of, and where for example."""

    async def run(self) -> None:
        work = self._work
        async for info in work.objects():
            work.progress.objects_total += 1
            work.progress.bytes_total += info.size_bytes
        if self._metadata is not None:
            self.known = await read_known(self._metadata)
            self._needed, self._named = self.known.needed_from(), self.known.named()
        work.progress.phase = "chains"
        async with trio.open_nursery() as nursery:
            places = trio.CapacityLimiter(_CHAINS_AT_ONCE_MAX)
            async for session, objects in chain_groups(work):
                await places.acquire_on_behalf_of(session)
                nursery.start_soon(self._chain, session, objects, places)
        work.progress.phase = "partitions"
        await self._folders()
        work.progress.phase = "meta"
        meta = await verify_meta(work, META_PREFIX)
        work.progress.phase = "judging"
        self._buried = set(meta.tombstones)
        if self._metadata is not None:
            self.known = await read_known(self._metadata)
        await self._judge()
        self._judge_topics(meta)
        if work.options.orphans:
            for rule, tally in self.garbage.items():
                work.warn("orphans", rule, str(tally))
        work.progress.phase = "done"

    # Chains and folders

    async def _chain(
        self, session: SessionId, objects: list[ObjectInfo], places: trio.CapacityLimiter
    ) -> None:
        try:
            chain = await verify_chain(self._work, session, objects)
        finally:
            places.release_on_behalf_of(session)
        self.found.chains[session] = chain
        for key in chain.runs:
            self._with_objects.setdefault(key.tp.topic_id, f"{session_prefix(session)} of {key.tp}")
        ended = chain_end(chain)
        gone = {each.key: each.allowed.value for each in chain_garbage(session, objects, end=ended)}
        for info in objects:
            if info.key in gone:
                self._garbage(gone[info.key], info.size_bytes)
            elif self._is_unneeded(chain, info):
                self._garbage("no longer needed", info.size_bytes)

    def _is_unneeded(self, chain: Chain, info: ObjectInfo) -> bool:
        """Data of the chain that no partition's state names, by what was known at the beginning."""
        place = parse_chain_object_key(info.key)
        if self.known is None or place is None or place.seq >= chain.end:
            return False
        needed = self._needed.get(chain.session)
        if needed is None:
            return chain.session not in self._named
        return place.seq < needed

    async def _folders(self) -> None:
        folder = None
        objects: list[ObjectInfo] = []
        async for info in data_objects(self._work):
            each = folder_of(info.key)
            if each is None:
                self._work.count("foreign", info)
                self._work.done([info])
                continue
            if each != folder:
                if folder is not None:
                    await self._folder(folder, objects)
                folder, objects = each, []
            objects.append(info)
        if folder is not None:
            await self._folder(folder, objects)

    async def _folder(self, name: PartitionFolder, objects: list[ObjectInfo]) -> None:
        folder = await verify_folder(self._work, name, objects)
        tp = TopicPartition(name.topic_id, name.partition)
        self.found.folders[tp] = folder
        self._with_objects.setdefault(name.topic_id, partition_prefix(name))
        known = self.known
        if known is None:
            return
        if name.topic_id in known.deleting:
            for each in topic_garbage(name.topic_id, objects):
                self._garbage(each.allowed.value, each.size_bytes)
            return
        assignment = known.assignments.get(tp)
        if not folder.unnamed or assignment is None:
            return
        state = known.states.get(tp, PartitionState())
        references = PartitionReferences(
            session=assignment.session,
            leader_epoch=assignment.leader_epoch,
            opened=True,
            manifest_key=state.manifest_key,
        )
        manifests: dict[str, Manifest] = {}
        for key in manifests_to_read(objects, references):
            data = await self._work.get(key)
            if data is not None:
                with suppress(Corrupt):
                    manifests[key] = parse_manifest(data)
        for each in folder_garbage(objects, references, manifests):
            self._garbage(each.allowed.value, each.size_bytes)

    def _garbage(self, rule: str, size_bytes: int) -> None:
        self.garbage.setdefault(rule, Tally()).add(size_bytes)

    # Judging

    async def _judge(self) -> None:
        suspected = self._problems(self.known, self.found)
        self.partitions = len(self._judged(self.known, self.found))
        for _ in range(_RECHECKS_MAX):
            if not suspected:
                return
            suspected = await self._look_again(suspected)
        for tp in suspected:
            self._work.warn(
                "unsettled", str(tp), "it changed each time it was read; verify again when it is quieter"
            )

    def _judged(self, known: Known | None, found: Found) -> set[TopicPartition]:
        if known is not None:
            return {tp for tp in known.states if tp.topic_id in known.topics}
        return {tp for tp in {*found.folders, *found.runs()} if tp.topic_id not in self._buried}

    def _problems(self, known: Known | None, found: Found) -> dict[TopicPartition, list[Problem]]:
        problems: dict[TopicPartition, list[Problem]] = {}
        if known is None:
            runs = found.runs()
            collected = any(chain.start for chain in self.found.chains.values())
            for tp in self._judged(known, found):
                problems[tp] = judge_alone(found.folders.get(tp), runs.get(tp, ()), collected=collected)
        else:
            for tp in self._judged(known, found):
                problems[tp] = judge_state(tp, known.states[tp], found)
        return {tp: found_here for tp, found_here in problems.items() if found_here}

    async def _look_again(
        self, suspected: dict[TopicPartition, list[Problem]]
    ) -> dict[TopicPartition, list[Problem]]:
        """Reports what is still so; returns what changed while it was looked at."""
        before = None if self._metadata is None else await read_known(self._metadata)
        found = await self._read_again(suspected, before)
        still = {tp: each for tp, each in self._problems(before, found).items() if tp in suspected}
        after = None if self._metadata is None else await read_known(self._metadata)
        unsettled: dict[TopicPartition, list[Problem]] = {}
        for tp, problems in still.items():
            if before is None or after is None:
                settled = problems == suspected[tp]
            else:
                settled = tp.topic_id not in after.topics or before.states[tp] == after.states.get(tp)
                if tp.topic_id not in after.topics:
                    continue
            if not settled:
                unsettled[tp] = problems
                continue
            for problem in problems:
                self._work.error(problem.kind, str(tp), problem.what)
        return unsettled

    async def _read_again(self, suspected: dict[TopicPartition, list[Problem]], known: Known | None) -> Found:
        """The suspects' chains and folders once more, only their ends; nothing of it is counted."""
        work = Work(self._work.store, replace(self._work.options, sample=0.0), Progress())
        if known is not None:
            states = {tp: known.states[tp] for tp in suspected if tp in known.states}
            sessions = wanted_sessions(states)
        else:
            sessions = {
                run.session for tp, runs in self.found.runs().items() if tp in suspected for run in runs
            }
        found = Found()
        for session in sessions:
            objects = [info async for info in work.objects(session_prefix(session))]
            found.chains[session] = await verify_chain(work, session, objects)
        for tp in suspected:
            folder = self._folder_name(tp, known)
            if folder is not None:
                objects = [info async for info in work.objects(partition_prefix(folder))]
                found.folders[tp] = await verify_folder(work, folder, objects)
        return found

    def _folder_name(self, tp: TopicPartition, known: Known | None) -> PartitionFolder | None:
        if known is not None and tp.topic_id in known.topics:
            return PartitionFolder(known.topics[tp.topic_id].name, *tp)
        folder = self.found.folders.get(tp)
        return None if folder is None else folder.folder

    def _judge_topics(self, meta: Meta) -> None:
        """Whether every topic of which something is there is known."""
        work, known = self._work, self.known
        for topic_id, where in self._with_objects.items():
            if topic_id in meta.tombstones:
                continue
            if known is not None and topic_id not in known.topics and topic_id not in known.deleting:
                work.error("unknown topic", where, f"the metadata store does not know the topic {topic_id}")
            elif topic_id not in meta.topics and (known is None or topic_id in known.topics):
                work.warn("no topic object", where, f"nothing in the bucket tells the name of {topic_id}")
        for topic_id, topic in ({} if known is None else known.topics).items():
            if topic_id in meta.tombstones:
                work.error("tombstone", topic.name, "the bucket says that it was deleted")
            told = meta.topics.get(topic_id)
            if told is not None and told.name != topic.name:
                work.error("topic object", topic.name, f"the bucket calls it {told.name}")


def chain_end(chain: Chain) -> ChainSeq | None:
    """Where a chain ends for ever; None while it may go on."""
    return ChainSeq(chain.end) if chain.sealed else None
