"""DescribeGroups: state and members of groups.

A group that does not exist is Dead before version 6, and GROUP_ID_NOT_FOUND from there on (KIP-1043).
"""

from typing import Any

from kio.schema.errors import ErrorCode
from kio.static.protocol import Entity

from libs.clients.group_types import GroupDescription, GroupPhase
from libs.model.errors import KafscaleError
from services.gateway.codec import NO_THROTTLE, Schema
from services.gateway.context import Gateway
from services.gateway.errors import group_code_of
from services.gateway.groups import check_group_id
from services.gateway.handler import Handler, Request, Versions

_NOT_FOUND_FROM = 6


async def handle(gateway: Gateway, request: Request) -> Entity:
    schema = request.schema
    groups = []
    for group_id in request.body.groups:
        try:
            groups.append(_described(schema, await gateway.groups.describe(check_group_id(group_id))))
        except KafscaleError as error:
            groups.append(_failed(schema, group_id, error))
    return schema.response(throttle_time=NO_THROTTLE, groups=tuple(groups))


def _described(schema: Schema, described: GroupDescription) -> Any:
    record = described.record
    return schema.part(
        "DescribedGroup",
        error_code=ErrorCode.none,
        group_id=described.group,
        group_state=described.phase.value,
        protocol_type=record.protocol_type,
        protocol_data=record.protocol,
        members=tuple(
            schema.part(
                "DescribedGroupMember",
                member_id=each.member_id,
                group_instance_id=each.group_instance_id,
                client_id=each.client_id,
                client_host=each.client_host,
                member_metadata=next(
                    (known.metadata for known in each.protocols if known.name == record.protocol), b""
                ),
                member_assignment=each.assignment,
            )
            for each in record.members
        ),
    )


def _failed(schema: Schema, group_id: str, error: KafscaleError) -> Any:
    code = group_code_of(error)
    dead = code is ErrorCode.group_id_not_found and schema.version < _NOT_FOUND_FROM
    return schema.part(
        "DescribedGroup",
        error_code=ErrorCode.none if dead else code,
        error_message=error.message,
        group_id=group_id,
        group_state=GroupPhase.DEAD.value if code is ErrorCode.group_id_not_found else "",
        protocol_type="",
        protocol_data="",
        members=(),
    )


HANDLER = Handler(api_key=15, name="describe_groups", versions=Versions(low=0, high=6), handle=handle)
