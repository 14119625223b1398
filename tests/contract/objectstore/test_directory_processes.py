"""One directory, several processes: racing, killed, and cleaned up after."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from libs.concurrency.rand import SeededRand, SystemRand
from libs.objectstore.directory import DirectoryObjectStore, open_directory_store
from libs.objectstore.pools import store_threads
from tests.contract.objectstore.writer import CHAIN_BODY, RACE_KEYS

ROOT = Path(__file__).parents[3]


@contextmanager
def writer(directory: Path, what: str, name: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.contract.objectstore.writer", str(directory), what, name],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def lines(process: subprocess.Popen[str]) -> Iterator[str]:
    assert process.stdout is not None
    return (line.strip() for line in process.stdout)


async def everything(store: DirectoryObjectStore) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    truncated = True
    while truncated:
        page = await store.list("", start_after=max(found, default=""))
        for info in page.objects:
            found[info.key] = await store.get(info.key)
        truncated = page.truncated
    return found


async def test_racing_processes_have_one_winner_a_key(tmp_path: Path) -> None:
    names = ["one", "two", "three"]
    with (
        writer(tmp_path, "race", names[0]) as one,
        writer(tmp_path, "race", names[1]) as two,
        writer(tmp_path, "race", names[2]) as three,
    ):
        racers = dict(zip(names, (one, two, three), strict=True))
        for process in racers.values():
            assert next(lines(process)) == "ready"
        for process in racers.values():
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        won = {key: name.encode() for name, process in racers.items() for key in lines(process)}
        assert [process.wait() for process in racers.values()] == [0, 0, 0]
    threads = store_threads(puts_max=1, gets_max=1)
    async with open_directory_store(str(tmp_path), threads=threads, rand=SystemRand()) as store:
        assert len(won) == RACE_KEYS
        assert await everything(store) == won


async def test_killed_in_the_middle_of_puts(tmp_path: Path) -> None:
    rand = SeededRand("kill")
    durable: set[str] = set()
    left_behind = 0
    for life in range(6):
        with writer(tmp_path, "chain", f"session-{life}") as process:
            written = lines(process)
            durable.update(next(written) for _ in range(rand.integer(1, 40)))
            process.kill()
            durable.update(line for line in written if line.endswith(".wal"))
        left_behind += len(list((tmp_path / "tmp").iterdir()))
        threads = store_threads(puts_max=1, gets_max=1)
        async with open_directory_store(str(tmp_path), threads=threads, rand=SystemRand()) as store:
            assert len(list((tmp_path / "tmp").iterdir())) == 1  # only our own
            found = await everything(store)
        assert durable <= found.keys()
        for key, data in found.items():  # whole, or not there at all
            seq = int(key.rpartition("/")[2].removesuffix(".wal"))
            assert data == CHAIN_BODY + str(seq).encode()
    assert left_behind == 6
    assert list((tmp_path / "tmp").iterdir()) == []


async def test_opening_leaves_a_living_process_alone(tmp_path: Path) -> None:
    threads = store_threads(puts_max=1, gets_max=1)
    with writer(tmp_path, "chain", "living") as process:
        written = lines(process)
        next(written)
        for _ in range(3):
            async with open_directory_store(str(tmp_path), threads=threads, rand=SystemRand()):
                assert len(list((tmp_path / "tmp").iterdir())) == 2
        assert [next(written) for _ in range(20)]
        assert process.poll() is None
