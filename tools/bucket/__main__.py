"""`python -m tools.bucket verify | rebuild | restore | list-snapshots`: the bucket on the command line.

Owns: arguments, progress on stderr, exit codes: 0 nothing is wrong (or it is done), 1 findings (or data is
missing), 2 it could not run. Does not own: what the commands do.
"""

import argparse
import json
import os
import sys
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

import structlog
import trio

from libs.clients.metadata import MetadataClient, open_metadata_client
from libs.concurrency.clock import SystemClock
from libs.concurrency.rand import Rand, SystemRand
from libs.model.errors import Corrupt, Invalid, KafscaleError
from libs.rpc import open_channel
from libs.segments.keys import snapshot_key
from services.metadata.stores import open_kv
from services.partition_owner.store_id import find_store_id
from tools.bucket.fix import fix
from tools.bucket.rebuild import RebuildOptions, rebuild
from tools.bucket.settings import BucketSettings, open_store
from tools.bucket.snapshots import list_snapshots
from tools.bucket.target import adopt
from tools.bucket.verify import verify
from tools.bucket.work import Options, Progress

FINDINGS, COULD_NOT_RUN = 1, 2
_MIB = 1024 * 1024
_YEAR_9999_MS = 253_370_764_800_000


def main() -> int:
    """Runs one command; returns the exit code."""
    parser = _parser()
    arguments, rest = parser.parse_known_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("warning"))
    code = COULD_NOT_RUN
    try:
        settings = BucketSettings.load(argv=rest, environ=os.environ)
        return trio.run(partial(_run, arguments, settings, SystemRand()))
    except* Corrupt as group:
        _complain(group)
        code = FINDINGS
    except* KafscaleError as group:
        _complain(group)
    except* KeyboardInterrupt:
        _tell("bucket: interrupted")
    except* Exception as group:
        traceback.print_exception(group)
        _tell("bucket: this is a fault of the tool itself")
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bucket",
        allow_abbrev=False,
        description="Verifies a bucket, and rebuilds the metadata store from it.",
        epilog="The bucket and the metadata store are those of the KAFSCALE_* variables, or of the services'"
        " flags behind the command: --s3-bucket, --s3-endpoint, --data-dir, --etcd-endpoints,"
        " --metadata-addresses, ...",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser(
        "verify", allow_abbrev=False, help="read everything and say what is wrong; changes nothing"
    )
    check.add_argument("--json", action="store_true", help="the report for machines")
    check.add_argument(
        "--sample", type=float, default=1.0, help="share of the data that is read whole, 0 to 1"
    )
    check.add_argument("--orphans", action="store_true", help="what waits for collection is a finding too")
    check.add_argument(
        "--fix", action="store_true", help="afterwards delete what can provably never be named"
    )
    listing = commands.add_parser(
        "list-snapshots", allow_abbrev=False, help="snapshots of the metadata store, oldest first"
    )
    listing.add_argument("--json", action="store_true", help="for machines")
    for name, text in (
        ("rebuild", "fill an empty metadata store from the bucket alone; every service is stopped"),
        ("restore", "the same, with groups, offsets and configs as of --at"),
    ):
        command = commands.add_parser(name, allow_abbrev=False, help=text)
        at_help = "a time, as 2026-01-31T12:00:00Z or in ms since 1970: the last snapshot before it"
        command.add_argument("--at", type=_time_ms, required=name == "restore", help=at_help)
        command.add_argument("--overwrite", action="store_true", help="give up what the metadata store has")
        command.add_argument("--yes", action="store_true", help="don't ask before overwriting")
        command.add_argument(
            "--accept-loss", action="store_true", help="restore what is left, where data is missing"
        )
        command.set_defaults(without_snapshot=False)
        if name == "rebuild":  # restore is about a snapshot
            command.add_argument("--without-snapshot", action="store_true", help="give up groups and offsets")
    adopting = commands.add_parser(
        "adopt",
        allow_abbrev=False,
        help="say that the cluster's records are in this bucket, where owners end with WRONG_STORE although"
        " they are; every service is stopped",
    )
    adopting.add_argument("--yes", action="store_true", help="don't ask")
    for command in commands.choices.values():
        command.add_argument("--gets", type=int, default=16, help="reads at a time (%(default)s)")
        command.epilog = parser.epilog
    return parser


async def _run(arguments: argparse.Namespace, settings: BucketSettings, rand: Rand) -> int:
    if not 0 <= getattr(arguments, "sample", 1.0) <= 1 or arguments.gets < 1:
        raise Invalid("--sample is between 0 and 1, --gets at least 1")
    match arguments.command:
        case "verify":
            return await _verify(arguments, settings, rand)
        case "list-snapshots":
            return await _list_snapshots(arguments, settings, rand)
        case "adopt":
            return await _adopt(arguments, settings, rand)
        case _:
            return await _rebuild(arguments, settings, rand)


async def _verify(arguments: argparse.Namespace, settings: BucketSettings, rand: Rand) -> int:
    options = Options(gets_max=arguments.gets, sample=arguments.sample, orphans=arguments.orphans)
    progress = Progress()
    async with (
        open_store(settings, gets_max=arguments.gets, rand=rand) as store,
        _metadata(settings) as metadata,
        _telling(progress),
    ):
        report = await verify(store, metadata, options=options, progress=progress)
        if arguments.fix:
            deleted = await fix(store, metadata, tell=_tell)
            report = replace(report, fixed=deleted)
    print(json.dumps(report.as_json(), indent=2) if arguments.json else report.text())
    return 0 if report.ok else FINDINGS


@asynccontextmanager
async def _metadata(settings: BucketSettings) -> AsyncIterator[MetadataClient | None]:
    if not settings.metadata_addresses:
        yield None
        return
    async with open_metadata_client(settings.metadata_addresses, open_channel) as client:
        yield client


async def _list_snapshots(arguments: argparse.Namespace, settings: BucketSettings, rand: Rand) -> int:
    async with open_store(settings, gets_max=arguments.gets, rand=rand) as store:
        names = await list_snapshots(store)
    if arguments.json:
        rows = [{"created_ms": name.created_ms, "revision": name.revision} for name in names]
        print(json.dumps(rows, indent=2))
    else:
        for name in names:
            print(f"{_time(name.created_ms)}  revision {name.revision}  {snapshot_key(name)}")
    return 0


async def _adopt(arguments: argparse.Namespace, settings: BucketSettings, rand: Rand) -> int:
    bucket = settings.s3_bucket or settings.data_dir
    if not arguments.yes:
        _confirm(
            f"Owners of cluster {settings.cluster} will take what is in {bucket} (namespace"
            f" {settings.s3_namespace!r}) for all of its records; what is only elsewhere is lost to them."
        )
    async with (
        open_store(settings, gets_max=arguments.gets, rand=rand) as store,
        open_kv(settings, rand=rand) as kv,
    ):
        store_id = await find_store_id(store)
        await adopt(kv, store_id)
    where = f"object store {store_id}" if store_id else "the object store of its next owner"
    print(f"the records of cluster {settings.cluster} are in {where}")
    return 0


async def _rebuild(arguments: argparse.Namespace, settings: BucketSettings, rand: Rand) -> int:
    where = ", ".join(settings.etcd_endpoints) or str(settings.data_dir)
    if arguments.overwrite and not arguments.yes:
        _confirm(f"Everything in the metadata store of cluster {settings.cluster} ({where}) will be deleted.")
    options = RebuildOptions(
        at_ms=arguments.at,
        overwrite=arguments.overwrite,
        accept_loss=arguments.accept_loss,
        without_snapshot=arguments.without_snapshot,
        gets_max=arguments.gets,
    )
    progress = Progress()
    async with (
        # First the bucket: a wrong folder has none, and must not get an empty metadata store.
        open_store(settings, gets_max=arguments.gets, rand=rand) as store,
        open_kv(settings, rand=rand) as kv,
        _telling(progress),
    ):
        result = await rebuild(
            store, kv, options=options, clock=SystemClock(), rand=rand, progress=progress, tell=_tell
        )
    restored = result.restored
    for topic in sorted(restored.topics, key=lambda topic: topic.name):
        print(f"{topic.name}  {topic.topic_id}  {topic.partitions} partitions")
    for problem in result.problems:
        print(f"lost: {problem}")
    as_of = (
        "no snapshot"
        if result.snapshot is None
        else f"the snapshot of {_time(result.snapshot.name.created_ms)}"
    )
    print(
        f"{len(restored.topics)} topics, {restored.partitions} partitions, {restored.records} records from"
        f" {result.sessions} sessions; {restored.groups} groups, {restored.offsets} offsets from {as_of};"
        f" {result.seconds:.1f} s. Start the services, then run verify."
    )
    return FINDINGS if result.problems else 0


def _confirm(what: str) -> None:
    """Raises Invalid unless a person says yes."""
    if not sys.stdin.isatty():
        raise Invalid(f"{what} Nobody can be asked here: say --yes")
    print(f"{what} Type yes to go on: ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip() != "yes":
        raise Invalid("nothing was changed")


@asynccontextmanager
async def _telling(progress: Progress) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_show, progress)
        yield
        nursery.cancel_scope.cancel()


async def _show(progress: Progress) -> None:
    """Every second for a person, else every ten."""
    began_at = trio.current_time()
    while True:
        await trio.sleep(1 if sys.stderr.isatty() else 10)
        seconds = trio.current_time() - began_at
        _tell(progress_line(progress, seconds))


def progress_line(progress: Progress, seconds: float) -> str:
    """How far it is after so long, and how long it will take."""
    line = f"{progress.phase}: {progress.objects_done} / {progress.objects_total} objects,"
    line += f" {progress.bytes_done / _MIB:.0f} / {progress.bytes_total / _MIB:.0f} MiB"
    if not 0 < progress.bytes_done < progress.bytes_total:
        return line
    left = seconds * (progress.bytes_total - progress.bytes_done) / progress.bytes_done
    return f"{line}, about {left:.0f} s left"


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _complain(group: BaseExceptionGroup[KafscaleError]) -> None:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            _complain(error)
        else:
            _tell(f"bucket: {error.message}")


def _time_ms(text: str) -> int:
    if text.isdecimal():
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time: 2026-01-31T12:00:00Z (UTC where no zone is said), or ms since 1970"
        ) from error
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _time(ms: int) -> str:
    if ms > _YEAR_9999_MS:
        return f"{ms} ms since 1970"
    return datetime.fromtimestamp(ms / 1000, tz=UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


if __name__ == "__main__":
    sys.exit(main())
