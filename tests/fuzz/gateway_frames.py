"""Throws damaged requests at the gateway's parser: nothing but Invalid may come out, and the process must
live.

Run it for long: `python -m tests.fuzz.gateway_frames --seed 1 --count 1000000`. It is a program of its own
because kio ends the whole process on some inputs that the guard must keep from it, and nothing in the
process sees that.
"""

import argparse
import random
import resource
import sys

from libs.model.errors import Invalid
from services.gateway.codec import read_body, read_header, schema_of
from services.gateway.guard import write_varint
from services.gateway.handlers.registry import SERVED
from tests.support.kafka_wire import frame_of, golden_requests, random_entity

_HUGE = (0xFFFFFFFE, 0x7FFFFFFF, 0xFFFFFFFF, 0x10000000, 0x80000000, 200_001)
_ADDRESS_SPACE_BYTES = 2 * 1024**3


def seeds(rand: random.Random) -> list[bytes]:
    """What real clients sent, and a request by chance for every API in every version served."""
    found = list(golden_requests().values())
    for api_key, versions in SERVED.items():
        for version in range(versions.low, versions.high + 1):
            request = random_entity(schema_of(api_key, version).request_type, rand)
            found.append(frame_of(request, client_id="fuzz"))
    return found


def damage(frame: bytes, rand: random.Random) -> bytes:
    """`frame` with one to four faults, after its api key and version."""
    data = bytearray(frame)
    for _ in range(rand.choice((1, 1, 1, 2, 4))):
        at = rand.randrange(8, len(data) + 1)
        match rand.randrange(7):
            case 0:
                data[at : at + 1] = rand.randbytes(1)
            case 1:
                data[at:] = b""
            case 2:
                data[at : at + 4] = rand.choice(_HUGE).to_bytes(4, "big")
            case 3:
                data[at : at + 1] = write_varint(rand.choice(_HUGE))
            case 4:
                data[at:at] = rand.randbytes(rand.choice((1, 3, 20)))
            case 5:
                end = rand.randrange(at, len(data) + 1)
                data[at:at] = data[at:end]
            case _:
                data[at : at + 2] = rand.choice((b"\xff\xff", b"\x80\x00", b"\x7f\xff"))
    return bytes(data) if len(data) >= 8 else frame


def parse(frame: bytes) -> bool:
    """Whether the frame is a request; raises whatever must not come out."""
    try:
        header, stop = read_header(frame)
        read_body(schema_of(header.api_key, header.version), frame, stop)
    except Invalid:
        return False
    return True


def run(seed: int, count: int) -> tuple[int, int]:
    """Parses `count` damaged frames; returns how many were still requests, and how many were not."""
    rand = random.Random(seed)
    outcomes = [0, 0]
    known = seeds(rand)
    for turn in range(count):
        if turn % 5000 == 4999:
            known = seeds(rand)
        frame = damage(rand.choice(known), rand)
        try:
            outcomes[0 if parse(frame) else 1] += 1
        except BaseException:
            sys.stderr.write(f"seed {seed}, turn {turn}: {frame.hex()}\n")
            raise
    return outcomes[0], outcomes[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=100_000)
    given = parser.parse_args()
    # What asks for more memory than this would have ended a small machine.
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE_BYTES, _ADDRESS_SPACE_BYTES))
    good, bad = run(given.seed, given.count)
    sys.stdout.write(f"{good} were requests, {bad} were refused\n")


if __name__ == "__main__":
    main()
