"""Batches that real clients encoded: accepted as they are, and read inside for every codec."""

from pathlib import Path

import pytest

from libs.records import Codec, find_offset_for_timestamp, validate_records
from libs.records.batch import BatchView
from libs.records.timestamps import decompress
from tests.support.records import decode_batch

FOLDER = Path(__file__).parents[3] / "golden" / "records"
FILES = sorted(FOLDER.glob("*.bin"))
START_MS = 1_700_000_000_000


def test_every_codec_is_there() -> None:
    assert {Codec[path.stem.split("-")[-2].upper()] for path in FILES} == set(Codec)
    assert len(FILES) == 18


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_clients_batch(path: Path) -> None:
    batch = view(path)
    _, codec, kind = path.stem.rsplit("-", 2)
    assert batch.codec is Codec[codec.upper()]
    assert batch.size_bytes == len(path.read_bytes())
    assert batch.record_count == 5
    assert batch.last_offset_delta == 4
    assert (batch.base_timestamp_ms, batch.max_timestamp_ms) == (START_MS, START_MS + 40)
    assert not batch.is_control
    assert not batch.is_transactional
    producer = (batch.producer_id, batch.producer_epoch, batch.base_sequence, batch.last_sequence)
    assert producer == ((4242, 7, 100, 104) if kind == "idempotent" else (-1, -1, -1, -1))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_records_in_a_clients_batch(path: Path) -> None:
    batch = view(path)
    plain = bytes(batch.data[:61]) + bytes(decompress(batch))
    records = [record for _, record in decode_batch(plain)]
    assert [record.key for record in records] == [b"key-0", b"key-1", b"key-2", b"key-3", None]
    assert [record.value for record in records] == [b"value-%d " % index * 20 for index in range(5)]
    assert [record.headers for record in records] == [(("trace", b"%d" % index),) for index in range(5)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
@pytest.mark.parametrize(
    ("after_ms", "expected"),
    [(-5, (0, 0)), (0, (0, 0)), (1, (1, 10)), (11, (2, 20)), (21, (4, 40)), (40, (4, 40)), (41, None)],
)
def test_the_first_record_at_or_after_a_time(
    path: Path, after_ms: int, expected: tuple[int, int] | None
) -> None:
    batch = view(path)._replace(base_offset=1000)
    found = find_offset_for_timestamp(batch, START_MS + after_ms)
    assert found == (None if expected is None else (1000 + expected[0], START_MS + expected[1]))


def view(path: Path) -> BatchView:
    (batch,) = validate_records(path.read_bytes())
    return batch
