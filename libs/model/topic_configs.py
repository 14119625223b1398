"""The topic configs of Kafka 4, with their types, defaults and what they may be.

Owns: the table (https://kafka.apache.org/documentation/#topicconfigs). Does not own: what each does here.
Rules: 1 every config that Kafka 4 knows is accepted when its value is right, also where a platform without
disks has no use for it, so that tools made for Kafka work; 2 values are strings, as in Kafka's protocol.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

from libs.model.errors import Invalid, Reason
from libs.model.limits import RECORD_BATCH_BYTES_CEILING, RECORD_BATCH_BYTES_MAX

_INT_MAX = 2**31 - 1
CONFIG_LONG_MAX = 2**63 - 1
_DAY_MS = 24 * 60 * 60 * 1000


class ConfigKind(Enum):
    """Kafka's ConfigDef.Type; the value is its number in DescribeConfigs answers."""

    BOOLEAN = 1
    STRING = 2
    INT = 3
    LONG = 5
    DOUBLE = 6
    LIST = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicConfig:
    name: str
    kind: ConfigKind
    default: str
    doc: str
    least: float | None = None
    greatest: float | None = None
    choices: tuple[str, ...] = ()
    """Of a STRING, or of each item of a LIST; empty: anything."""

    def check(self, value: str) -> None:
        """Raises Invalid(INVALID_CONFIG) that says what would be right."""
        problem = self._problem(value)
        if problem:
            raise Invalid(f"{self.name} is {value!r}: {problem}", reason=Reason.INVALID_CONFIG)

    def _problem(self, value: str) -> str:
        match self.kind:
            case ConfigKind.BOOLEAN:
                return "" if value.lower() in {"true", "false"} else "it must be true or false"
            case ConfigKind.STRING | ConfigKind.LIST:
                items = (
                    [value] if self.kind is ConfigKind.STRING else [i.strip() for i in value.split(",") if i]
                )
                if self.choices and (not items or not set(items) <= set(self.choices)):
                    return "it must be of " + ", ".join(self.choices)
                return ""
            case _:
                return self._number_problem(value)

    def _number_problem(self, value: str) -> str:
        kind = float if self.kind is ConfigKind.DOUBLE else int
        try:
            number = kind(value)
        except ValueError:
            return "it must be a number" if kind is float else "it must be a whole number"
        if self.least is not None and not number >= self.least:
            return f"it must be at least {self.least:g}"
        if self.greatest is not None and not number <= self.greatest:
            return f"it must be at most {self.greatest:.15g}"
        return ""


def _long(name: str, default: int, doc: str, *, least: int = 0) -> TopicConfig:
    return TopicConfig(
        name=name, kind=ConfigKind.LONG, default=str(default), doc=doc, least=least, greatest=CONFIG_LONG_MAX
    )


def _int(name: str, default: int, doc: str, *, least: int = 0, greatest: int = _INT_MAX) -> TopicConfig:
    return TopicConfig(
        name=name, kind=ConfigKind.INT, default=str(default), doc=doc, least=least, greatest=greatest
    )


def _boolean(name: str, default: str, doc: str) -> TopicConfig:
    return TopicConfig(name=name, kind=ConfigKind.BOOLEAN, default=default, doc=doc)


def _one_of(name: str, default: str, doc: str, *choices: str) -> TopicConfig:
    return TopicConfig(name=name, kind=ConfigKind.STRING, default=default, doc=doc, choices=choices)


def _list(name: str, default: str, doc: str, *choices: str) -> TopicConfig:
    return TopicConfig(name=name, kind=ConfigKind.LIST, default=default, doc=doc, choices=choices)


_TABLE = (
    _list("cleanup.policy", "delete", "How old records go.", "compact", "delete"),
    _one_of(
        "compression.type",
        "producer",
        "How batches are stored; producer: as they come.",
        *("uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"),
    ),
    _int("compression.gzip.level", -1, "Level where compression.type is gzip.", least=-1, greatest=9),
    _int("compression.lz4.level", 9, "Level where compression.type is lz4.", least=1, greatest=17),
    _int("compression.zstd.level", 3, "Level where compression.type is zstd.", least=-131072, greatest=22),
    _long("delete.retention.ms", _DAY_MS, "How long tombstones of a compacted topic stay."),
    _long("file.delete.delay.ms", 60_000, "How long a deleted file stays on a disk."),
    _long("flush.messages", CONFIG_LONG_MAX, "Records between two fsyncs of a disk.", least=1),
    _long("flush.ms", CONFIG_LONG_MAX, "Time between two fsyncs of a disk."),
    _list("follower.replication.throttled.replicas", "", "Replicas that copy slowly."),
    _int("index.interval.bytes", 4096, "Bytes between two entries of an offset index."),
    _list("leader.replication.throttled.replicas", "", "Replicas that serve copies slowly."),
    _long("local.retention.bytes", -2, "Tiered storage: bytes kept on a disk.", least=-2),
    _long("local.retention.ms", -2, "Tiered storage: time kept on a disk.", least=-2),
    _long(
        "max.compaction.lag.ms", CONFIG_LONG_MAX, "The longest time that a record stays uncompacted.", least=1
    ),
    _int(
        "max.message.bytes",
        RECORD_BATCH_BYTES_MAX,
        "The largest record batch.",
        greatest=RECORD_BATCH_BYTES_CEILING,
    ),
    _long("message.timestamp.after.max.ms", 3_600_000, "How far a record's time may be ahead."),
    _long("message.timestamp.before.max.ms", CONFIG_LONG_MAX, "How far a record's time may be behind."),
    _one_of(
        "message.timestamp.type",
        "CreateTime",
        "Whose time a record has: its producer's or the log's.",
        *("CreateTime", "LogAppendTime"),
    ),
    TopicConfig(
        name="min.cleanable.dirty.ratio",
        kind=ConfigKind.DOUBLE,
        default="0.5",
        doc="The share of dirty log that compaction waits for.",
        least=0,
        greatest=1,
    ),
    _long("min.compaction.lag.ms", 0, "The least time that a record stays uncompacted."),
    _int(
        "min.insync.replicas", 1, "Replicas that must have a record; the object store counts as one.", least=1
    ),
    _boolean("preallocate", "false", "Whether a disk's file is allocated ahead."),
    _boolean("remote.log.copy.disable", "false", "Tiered storage: stop copying."),
    _boolean("remote.log.delete.on.disable", "false", "Tiered storage: delete when switched off."),
    _boolean("remote.storage.enable", "false", "Tiered storage; here all storage is remote."),
    _long("retention.bytes", -1, "Bytes of a partition that are kept; -1: all.", least=-1),
    _long("retention.ms", 7 * _DAY_MS, "How long records are kept; -1: for ever.", least=-1),
    _int("segment.bytes", 1024**3, "Size of a log segment.", least=14),
    _int("segment.index.bytes", 10 * 1024**2, "Size of a segment's index.", least=4),
    _long("segment.jitter.ms", 0, "Spreads the rolling of segments."),
    _long("segment.ms", 7 * _DAY_MS, "Age at which a segment is closed.", least=1),
    _boolean("unclean.leader.election.enable", "false", "No use here: no acknowledged record is ever lost."),
)

TOPIC_CONFIGS: Mapping[str, TopicConfig] = MappingProxyType({config.name: config for config in _TABLE})
"""By name."""


def check_topic_configs(configs: Mapping[str, str]) -> None:
    """Raises Invalid(INVALID_CONFIG) for the first config that Kafka does not know or that is wrong."""
    for name, value in configs.items():
        known = TOPIC_CONFIGS.get(name)
        if known is None:
            raise Invalid(f"there is no topic config {name!r}", reason=Reason.INVALID_CONFIG)
        known.check(value)
