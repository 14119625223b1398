"""Makes the golden record batches of this folder with the encoders of real clients.

Run from the top of the tree: python tests/golden/records/make.py
The names say client and codec. kafka-python 3.0.12 wrote all but snappy (it needs a library of its own for
that); aiokafka 0.14.0 wrote all five. Both got the same five records, and made an idempotent and a plain
batch.
"""

from pathlib import Path
from typing import Any

import aiokafka.record.default_records as aiokafka_records
from kafka.record import default_records as kafka_python_records

FOLDER = Path(__file__).parent
CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
PRODUCERS = {"plain": (-1, -1, -1), "idempotent": (4242, 7, 100)}


def write(client: str, builder_class: Any, codecs: list[str]) -> None:
    """Five records a batch: 10 ms apart, the last without a key, the fourth out of order in time."""
    for codec in codecs:
        for kind, (producer_id, producer_epoch, base_sequence) in PRODUCERS.items():
            builder = builder_class(
                magic=2,
                compression_type=CODECS[codec],
                is_transactional=0,
                producer_id=producer_id,
                producer_epoch=producer_epoch,
                base_sequence=base_sequence,
                batch_size=1 << 20,
            )
            for index in range(5):
                timestamp = 1_700_000_000_000 + (5 if index == 3 else index * 10)
                key = None if index == 4 else b"key-%d" % index
                builder.append(index, timestamp, key, b"value-%d " % index * 20, [("trace", b"%d" % index)])
            (FOLDER / f"{client}-{codec}-{kind}.bin").write_bytes(bytes(builder.build()))


if __name__ == "__main__":
    write("kafka-python", kafka_python_records.DefaultRecordBatchBuilder, ["none", "gzip", "lz4", "zstd"])
    write("aiokafka", aiokafka_records.DefaultRecordBatchBuilder, list(CODECS))
