"""What readers are told of chain objects that are not any more what the log says."""

from dataclasses import replace

import pytest
import trio

from libs.model.errors import Corrupt, Moved
from libs.model.ids import ChainSeq
from libs.segments.keys import chain_object_key, start_marker_key
from libs.segments.seal import encode_seal
from tests.support.segments import sample_seal
from tests.unit.services.partition_owner.compacted import SESSION, Compacted, Served


@pytest.mark.parametrize("value_bytes", [0, 1000], ids=["within the seal's size", "beyond the seal's size"])
async def test_a_seal_that_came_after_a_place_was_collected_means_an_old_list(value_bytes: int) -> None:
    """An owner of before still lists a place that its successor let go; a sealer that was slow took it."""
    made = Compacted()
    for time in range(3):
        await made.append([([time], value_bytes)])
    place = chain_object_key(SESSION, 1)
    await made.store.delete([place])
    seal = encode_seal(replace(sample_seal(), session=SESSION, seq=ChainSeq(1)))
    await made.store.put_if_absent(place, seal)
    async with trio.open_nursery() as nursery:
        served = Served(made, nursery)
        assert isinstance((await served.fetch(1)).error, Corrupt)  # no marker says that it may be gone
        await made.store.put_if_absent(start_marker_key(SESSION, 2), b"")
        assert isinstance((await served.fetch(1)).error, Moved)
        with pytest.RaisesGroup(Moved, flatten_subgroups=True, allow_unwrapped=True):
            await served.find(1)
        assert (await served.fetch(2)).error is None
        nursery.cancel_scope.cancel()
