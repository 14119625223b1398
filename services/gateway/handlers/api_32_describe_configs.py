"""DescribeConfigs: a topic's configs, and the few of a broker that tools look for."""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from kio.schema.errors import ErrorCode
from kio.static.protocol import Entity

from libs.model.errors import Invalid, KafscaleError
from libs.model.limits import RECORD_BATCH_BYTES_MAX
from libs.model.topic_configs import TOPIC_CONFIGS, ConfigKind
from services.gateway.codec import NO_THROTTLE, Schema
from services.gateway.context import Gateway
from services.gateway.errors import code_of
from services.gateway.handler import Handler, Request, Versions

TOPIC: Final = 2
_BROKER: Final = 4
OF_TOPIC: Final = 1
OF_BROKER: Final = 4
DEFAULT: Final = 5


class Synonym(NamedTuple):
    """One place where a config's value may come from."""

    name: str
    value: str
    source: int


class Config(NamedTuple):
    name: str
    kind: ConfigKind
    read_only: bool
    doc: str
    synonyms: tuple[Synonym, ...]
    """The first one counts; each other one does where those before it are taken away."""

    @property
    def value(self) -> str:
        return self.synonyms[0].value

    @property
    def source(self) -> int:
        return self.synonyms[0].source


async def handle(gateway: Gateway, request: Request) -> Entity:
    body, schema = request.body, request.schema
    results = []
    for asked in body.resources:
        try:
            configs = [
                each
                for each in _configs(gateway, asked)
                if asked.configuration_keys is None or each.name in asked.configuration_keys
            ]
            code, message = ErrorCode.none, None
        except KafscaleError as error:
            configs, code, message = [], code_of(error), error.message
        results.append(
            schema.part(
                "DescribeConfigsResult",
                error_code=code,
                error_message=message,
                resource_type=asked.resource_type,
                resource_name=asked.resource_name,
                configs=tuple(_result(schema, body, each) for each in configs),
            )
        )
    return schema.response(throttle_time=NO_THROTTLE, results=tuple(results))


def _configs(gateway: Gateway, asked: Any) -> Iterator[Config]:
    """Raises NotFound, Invalid."""
    if asked.resource_type == TOPIC:
        found = gateway.topics.find(asked.resource_name, None)
        return topic_configs(found.configs, gateway.options.topic_defaults())
    if asked.resource_type == _BROKER:
        known = {str(each.broker_id) for each in gateway.brokers.all()} | {""}
        if asked.resource_name not in known:
            raise Invalid(f"there is no broker {asked.resource_name!r}")
        return _broker_configs(gateway)
    raise Invalid(f"resources of type {asked.resource_type} have no configs here")


def topic_configs(own: Mapping[str, str], defaults: Mapping[str, str]) -> Iterator[Config]:
    """Every config of a topic that sets `own` where the platform's settings say `defaults`."""
    for name, config in TOPIC_CONFIGS.items():
        synonyms = (
            *([Synonym(name, own[name], OF_TOPIC)] if name in own else []),
            *([Synonym(f"log.{name}", defaults[name], OF_BROKER)] if name in defaults else []),
            Synonym(name, config.default, DEFAULT),
        )
        yield Config(name, config.kind, read_only=False, doc=config.doc, synonyms=synonyms)


def _broker_configs(gateway: Gateway) -> Iterator[Config]:
    auto = "true" if gateway.options.auto_create_topics else "false"
    for name, value, kind, doc in (
        ("auto.create.topics.enable", auto, ConfigKind.BOOLEAN, "Whether topics are created on first use."),
        ("default.replication.factor", "1", ConfigKind.INT, "The object store keeps records durable."),
        ("message.max.bytes", str(RECORD_BATCH_BYTES_MAX), ConfigKind.INT, "The largest record batch."),
    ):
        yield Config(name, kind, read_only=True, doc=doc, synonyms=(Synonym(name, value, OF_BROKER),))
    defaults = gateway.options.topic_defaults()
    for topic_name in ("retention.bytes", "retention.ms"):
        config, name = TOPIC_CONFIGS[topic_name], f"log.{topic_name}"
        synonyms = (
            *([Synonym(name, defaults[topic_name], OF_BROKER)] if topic_name in defaults else []),
            Synonym(name, config.default, DEFAULT),
        )
        yield Config(name, config.kind, read_only=True, doc=config.doc, synonyms=synonyms)


def _result(schema: Schema, body: Any, config: Config) -> Any:
    synonyms: tuple[Any, ...] = ()
    if getattr(body, "include_synonyms", False):
        synonyms = tuple(
            schema.part("DescribeConfigsSynonym", name=each.name, value=each.value, source=each.source)
            for each in config.synonyms
        )
    return schema.part(
        "DescribeConfigsResourceResult",
        name=config.name,
        value=config.value,
        read_only=config.read_only,
        config_source=config.source,
        is_sensitive=False,
        synonyms=synonyms,
        config_type=config.kind.value,
        documentation=config.doc if getattr(body, "include_documentation", False) else None,
    )


HANDLER = Handler(api_key=32, name="describe_configs", versions=Versions(low=1, high=4), handle=handle)
