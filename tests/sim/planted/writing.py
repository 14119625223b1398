"""Bugs against the rules of writing: design section 3, rules 1 to 6.

Owns: these bugs. Does not own: how they are planted.
"""

from tests.sim.planted.bug import Change, PlantedBug

_WRITER = "services.partition_owner.chain_writer"
_FLUSHER = "services.partition_owner.flusher"
_ASSEMBLER = "services.partition_owner.assembler"

BUGS = (
    PlantedBug(
        name="unconditional_put",
        rule="1; KafScale",
        checker="p2_one_value",
        what="chain objects are written over whatever is there",
        changes=(
            Change(
                _WRITER,
                "if await self._store.put_if_absent(key, body) is PutResult.CREATED:\n"
                "                    return\n",
                "await self._store.put(key, body)\n                return\n",
            ),
        ),
    ),
    PlantedBug(
        name="footer_without_producers",
        rule="2",
        checker="p3_no_holes",
        what="the footer leaves the producers' runs out: a new owner does not know duplicates",
        changes=(Change(_ASSEMBLER, "producer_runs=trimmed(group.runs),", "producer_runs=(),"),),
    ),
    PlantedBug(
        name="duplicates_appended",
        rule="3",
        checker="p3_no_holes",
        what="an idempotent batch that comes again is appended again",
        changes=(
            Change(
                _ASSEMBLER,
                "        original = producers.check(batch)\n",
                "        original = None\n",
            ),
        ),
    ),
    PlantedBug(
        name="ack_before_earlier_objects",
        rule="4",
        checker="p1_durable",
        what="an object is acknowledged as soon as it is stored, whatever became of those before it",
        changes=(
            Change(
                _FLUSHER,
                "        for durable in self._chain.succeeded(started):\n",
                "        for ack in started.acks:\n"
                "            ack.append.sink.appended(ack.append, ack.base_offset)\n"
                "        started.acks.clear()\n"
                "        for durable in self._chain.succeeded(started):\n",
            ),
        ),
    ),
    PlantedBug(
        name="duplicate_acked_in_flight",
        rule="4",
        checker="p1_durable",
        what="a duplicate of a batch in flight is acknowledged at once",
        changes=(
            Change(
                _ASSEMBLER,
                "    if end <= append.partition.log.durable:\n",
                "    if end <= append.partition.log.assigned:\n",
            ),
        ),
    ),
    PlantedBug(
        name="readers_see_in_flight",
        rule="4; Tansu",
        checker="p2_one_value",
        what="the watermark moves before the batch is put: readers see what may never become durable",
        changes=(
            Change(
                _FLUSHER,
                "                partition.log.begin_flight(end)\n",
                "                partition.log.begin_flight(end)\n"
                "                partition.became_durable(end)\n",
            ),
        ),
    ),
    PlantedBug(
        name="put_given_up",
        rule="5; KafScale",
        checker="p1_durable",
        what="a PUT that failed twice is taken as done: everybody in that flush is acknowledged",
        changes=(
            Change(
                _WRITER,
                "            except (Unavailable, Invalid) as error:\n"
                "                failures += 1\n"
                "                self.retries += 1\n",
                "            except (Unavailable, Invalid) as error:\n"
                "                failures += 1\n"
                "                if failures == 2:\n"
                "                    return\n"
                "                self.retries += 1\n",
            ),
        ),
    ),
    PlantedBug(
        name="taken_key_is_success",
        rule="5",
        checker="p1_durable",
        what="a 412 is taken for the writer's own earlier success: a seal is not noticed",
        changes=(
            Change(
                _WRITER,
                "        if not is_mine(found, nonce):\n            raise self._over(seq, found)\n\n",
                "        log.info('chain_put_exists', seq=seq, mine=is_mine(found, nonce))\n\n",
            ),
        ),
    ),
    PlantedBug(
        name="cached_offsets_reused",
        rule="5; KafScale",
        checker="p1_durable",
        what="an owner that gets a partition back goes on with the log that it had in memory",
        changes=(
            Change(
                "services.partition_owner.opening",
                "        again = next((each.to_seq for each in closed if self._is_own(each, epoch)), None)\n",
                '        rebuilt = self.__dict__.setdefault("_cached", {}).setdefault(tp, rebuilt)\n'
                "        again = next((each.to_seq for each in closed if self._is_own(each, epoch)), None)\n",
            ),
        ),
    ),
    PlantedBug(
        name="index_trusted_too_far",
        rule="6",
        checker="p7_never_lies",
        what="a takeover believes that an index says more than it does: it seals behind places that are free",
        changes=(
            Change(
                "services.partition_owner.sealing",
                "                    end = max(end, ChainSeq(position.seq + CHAIN_INDEX_EVERY))\n",
                "                    end = max(end, ChainSeq(position.seq + 2 * CHAIN_INDEX_EVERY))\n",
            ),
        ),
    ),
)
