"""A process of its own that writes to a directory store: `race` for conditional puts, `chain` to be killed.

Prints a line for each object that it was told is durable.
"""

import sys
from functools import partial

import trio

from libs.concurrency.rand import SystemRand
from libs.objectstore.directory import DirectoryObjectStore, open_directory_store
from libs.objectstore.pools import store_threads
from libs.objectstore.port import PutResult

CHAIN_BODY = bytes(range(256)) * 300
RACE_KEYS = 60
IN_FLIGHT = 4


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def race(store: DirectoryObjectStore, name: str) -> None:
    """Tries to create every key with its own name as the body; prints those that it created."""
    say("ready")
    await trio.to_thread.run_sync(sys.stdin.readline)
    for number in range(RACE_KEYS):
        key = f"race/{number % 3}/{number}"
        if await store.put_if_absent(key, name.encode()) is PutResult.CREATED:
            say(key)


async def chain(store: DirectoryObjectStore, session: str) -> None:
    """Writes without end, several at a time, until it is killed."""

    async def write(first: int) -> None:
        seq = first
        while True:
            key = f"wal/{session}/{seq:020d}.wal"
            await store.put_if_absent(key, [CHAIN_BODY, str(seq).encode()])
            say(key)
            seq += IN_FLIGHT

    async with trio.open_nursery() as nursery:
        for first in range(IN_FLIGHT):
            nursery.start_soon(write, first)


async def main(directory: str, what: str, name: str) -> None:
    threads = store_threads(puts_max=IN_FLIGHT, gets_max=1)
    async with open_directory_store(directory, threads=threads, rand=SystemRand()) as store:
        await (race if what == "race" else chain)(store, name)


if __name__ == "__main__":
    trio.run(partial(main, *sys.argv[1:]))
