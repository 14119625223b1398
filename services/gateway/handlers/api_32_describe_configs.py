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


class _Config(NamedTuple):
    name: str
    value: str
    kind: ConfigKind
    source: int
    read_only: bool
    doc: str


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


def _configs(gateway: Gateway, asked: Any) -> Iterator[_Config]:
    """Raises NotFound, Invalid."""
    if asked.resource_type == TOPIC:
        return _topic_configs(gateway.topics.find(asked.resource_name, None).configs)
    if asked.resource_type == _BROKER:
        known = {str(each.broker_id) for each in gateway.brokers.all()} | {""}
        if asked.resource_name not in known:
            raise Invalid(f"there is no broker {asked.resource_name!r}")
        return _broker_configs(gateway)
    raise Invalid(f"resources of type {asked.resource_type} have no configs here")


def _topic_configs(own: Mapping[str, str]) -> Iterator[_Config]:
    for name, config in TOPIC_CONFIGS.items():
        source = OF_TOPIC if name in own else DEFAULT
        value = own.get(name, config.default)
        yield _Config(name, value, config.kind, source, read_only=False, doc=config.doc)


def _broker_configs(gateway: Gateway) -> Iterator[_Config]:
    auto = "true" if gateway.options.auto_create_topics else "false"
    for name, value, kind, doc in (
        ("auto.create.topics.enable", auto, ConfigKind.BOOLEAN, "Whether topics are created on first use."),
        ("default.replication.factor", "1", ConfigKind.INT, "The object store keeps records durable."),
        ("message.max.bytes", str(RECORD_BATCH_BYTES_MAX), ConfigKind.INT, "The largest record batch."),
    ):
        yield _Config(name, value, kind, OF_BROKER, read_only=True, doc=doc)


def _result(schema: Schema, body: Any, config: _Config) -> Any:
    synonyms: tuple[Any, ...] = ()
    if getattr(body, "include_synonyms", False):
        known = [(config.value, config.source)]
        if config.source == OF_TOPIC:
            known.append((TOPIC_CONFIGS[config.name].default, DEFAULT))
        synonyms = tuple(
            schema.part("DescribeConfigsSynonym", name=config.name, value=value, source=source)
            for value, source in known
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
