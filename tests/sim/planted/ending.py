"""Bugs against the rules of ending a chain: design section 3, rules 7 to 9.

Owns: these bugs. Does not own: how they are planted.
"""

from tests.sim.planted.bug import Change, PlantedBug

_SEALING = "services.partition_owner.sealing"
_DECIDE = "services.partition_owner.collection.decide"

BUGS = (
    PlantedBug(
        name="lost_race_taken_for_a_seal",
        rule="7",
        checker="p1_durable",
        what="a sealer whose place was taken by data believes that it has sealed it",
        changes=(
            Change(
                _SEALING,
                "                results.append((seq, result is PutResult.CREATED))\n",
                "                results.append((seq, result is not None))\n",
            ),
        ),
    ),
    PlantedBug(
        name="markers_not_read",
        rule="8",
        checker="p1_durable",
        what="the markers are listed and not looked at: a collected prefix looks like a free place",
        changes=(
            Change(
                _SEALING,
                "            start = max(start, greatest_start(found.key for found in page.objects))\n",
                "            start = min(start, greatest_start(found.key for found in page.objects))\n",
            ),
        ),
    ),
    PlantedBug(
        name="start_past_durable",
        rule="8",
        checker="no_live_collected",
        what="an owner moves its chain's start to the next object, beyond what is durable",
        changes=(
            Change(
                "services.partition_owner.collection.own_chain",
                "            durable_seq=ChainSeq(flusher.statistics().durable_seq),\n",
                "            durable_seq=ChainSeq(flusher.next_seq + 1),\n",
            ),
        ),
    ),
    PlantedBug(
        name="ending_seal_deleted",
        rule="9",
        checker="p5_clocks",
        what="the seal that ends a collected chain goes with the rest",
        changes=(
            Change(
                _DECIDE,
                "        return Allowed.BEYOND_END if over and place.seq > start else None\n",
                "        return Allowed.BEYOND_END if over and place.seq >= start else None\n",
            ),
        ),
    ),
)
