"""The layers of the tree as data: which package may import which, and which file may touch which library.

Owns: the tables of the house's rules. Does not own: reading code (tidy.py), Pants' form of them (libs/BUILD).
Rules: 1 imports go down only; 2 one door per outside world; 3 a package or door missing here is a finding.
"""

from dataclasses import dataclass

MODEL = frozenset({"libs/model"})
PLAIN = frozenset({"libs/records", "libs/segments"})
BASE = frozenset({"libs/concurrency", "libs/telemetry"})
PORTS = frozenset({"libs/objectstore", "libs/rpc"})
TOP = frozenset({"libs/clients", "libs/chassis"})
LIBS = MODEL | PLAIN | BASE | PORTS | TOP

# What a package may import besides itself and the standard library.
MAY_IMPORT: dict[str, frozenset[str]] = {
    **dict.fromkeys(MODEL, frozenset()),
    **dict.fromkeys(PLAIN, MODEL),
    **dict.fromkeys(BASE, MODEL),
    **dict.fromkeys(PORTS, MODEL | PLAIN | BASE),
    **dict.fromkeys(TOP, MODEL | PLAIN | BASE | PORTS),
    **dict.fromkeys(("services/gateway", "services/partition_owner", "services/metadata"), LIBS),
    "services/operator": LIBS,
    "services/standalone": LIBS | {"services/gateway", "services/partition_owner", "services/metadata"},
}

# Packages that know bytes and rules only: no event loop, no clock, no socket, no file.
PURE = MODEL | PLAIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """Modules, the only files that may import them, those files in words, and what all others do instead."""

    modules: tuple[str, ...]
    files: tuple[str, ...]
    place: str
    instead: str


# Where messages become values of libs/model: clients, each service's rpc files, and the control API, which
# every process serves.
RIMS = (
    *("libs/clients/*", "libs/chassis/broker_control.py"),
    *("services/*/rpc.py", "services/*/rpc_*.py", "services/*/*_rpc.py", "services/*/rpc/*.py"),
)
RIMS_PLACE = "libs/clients, a service's rpc files and libs/chassis/broker_control.py"

# The first door that has a module decides.
DOORS: tuple[Door, ...] = (
    Door(
        modules=("boto3", "botocore"),
        files=("libs/objectstore/s3.py", "libs/objectstore/s3_*.py"),
        place="libs/objectstore/s3.py",
        instead="use the port in libs/objectstore",
    ),
    Door(
        modules=("h2", "hpack", "hyperframe"),
        files=("libs/rpc/*",),
        place="libs/rpc",
        instead="use libs/rpc",
    ),
    Door(
        modules=("grpclib",),
        files=("libs/rpc/*", *RIMS),
        place=f"libs/rpc, {RIMS_PLACE}",
        instead="take the type from libs/rpc, or answer in the service's rpc.py",
    ),
    Door(
        modules=("opentelemetry", "prometheus_client"),
        files=("libs/telemetry/*",),
        place="libs/telemetry",
        instead="use libs/telemetry",
    ),
    Door(
        modules=("kio",),
        files=("services/gateway/*",),
        place="services/gateway",
        instead="speak libs/model outside the gateway",
    ),
    Door(
        modules=("proto.metadata",),
        files=("services/metadata/*", *RIMS),
        place=f"services/metadata (its stored values), {RIMS_PLACE}",
        instead="take and return libs/model types",
    ),
    Door(
        modules=("proto.etcd",),
        files=("services/metadata/kv/etcd*.py",),
        place="services/metadata/kv/etcd.py",
        instead="use the port in services/metadata/kv",
    ),
    Door(
        modules=("proto",),
        files=RIMS,
        place=RIMS_PLACE,
        instead="take and return libs/model types, translate there",
    ),
    Door(
        modules=("sqlite3",),
        files=("services/metadata/kv/sqlite*.py",),
        place="services/metadata/kv/sqlite.py",
        instead="use the port in services/metadata/kv",
    ),
    Door(
        modules=("kubernetes", "httpx"),
        files=("services/operator/cluster.py",),
        place="services/operator/cluster.py",
        instead="use services/operator/cluster.py",
    ),
    Door(
        modules=("asyncio", "anyio"),
        files=(),
        place="no file",
        instead="use trio",
    ),
)

# Modules that a pure package must not import.
PURE_REFUSED = frozenset(
    {
        "trio",
        "socket",
        "ssl",
        "select",
        "selectors",
        "time",
        "sched",
        "google",
        "subprocess",
        "pathlib",
        "sqlite3",
    }
)

# Names that hide time, chance, threads or a layer: the simulation must own them all.
_CLOCK = "take a Clock of libs/concurrency/clock.py; durations are trio.current_time()"
_SLEEP = "await trio.sleep"
_RANDOM = "take a Rand of libs/concurrency/rand.py"
_THREADS = "take the Threads of libs/concurrency/threads.py"
HANDED_IN: dict[str, str] = {
    **dict.fromkeys(
        ("time.time", "time.time_ns", "time.monotonic", "time.monotonic_ns", "time.perf_counter"), _CLOCK
    ),
    **dict.fromkeys(("time.perf_counter_ns", "time.clock_gettime", "time.localtime", "time.gmtime"), _CLOCK),
    **dict.fromkeys(("datetime.datetime.now", "datetime.datetime.utcnow", "datetime.datetime.today"), _CLOCK),
    "datetime.date.today": _CLOCK,
    "time.sleep": _SLEEP,
    **dict.fromkeys(("random", "secrets", "os.urandom", "uuid.uuid1", "uuid.uuid4"), _RANDOM),
    **dict.fromkeys(
        ("threading", "_thread", "concurrent.futures", "multiprocessing", "trio.to_thread"), _THREADS
    ),
    **dict.fromkeys(("importlib.import_module", "__import__"), "write the import, so that its layer is seen"),
}
HANDED_IN_FROM = "libs/concurrency"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exemption:
    """One file that may break one rule, and why."""

    rule: str
    path: str
    reason: str


EXEMPTIONS: tuple[Exemption, ...] = (
    Exemption(
        rule="handed-in",
        path="libs/objectstore/disk.py",
        reason="starts no thread: a lock around one set that the calls of several pool threads share",
    ),
)
