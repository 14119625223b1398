"""Changing topics for a client: one after the other, within a time, until the view shows what came of it.

Owns: the order and the time. Does not own: what may change (metadata), how requests and answers look.
"""

from collections.abc import Sequence
from typing import Final

import trio

from libs.clients.topic_updates import TopicUpdate, UpdatedTopic
from libs.model.errors import KafscaleError, Reason, Unavailable
from services.gateway.context import Gateway

UPDATE_SECONDS_MAX: Final = 60.0
"""No request waits longer, whatever it asks for."""


async def update_topics(
    gateway: Gateway, wanted: Sequence[TopicUpdate | KafscaleError], *, validate_only: bool, seconds: float
) -> list[UpdatedTopic | KafscaleError]:
    """One answer each, in order; those that are errors already stay so."""
    late = Unavailable("the topic was not changed in time", reason=Reason.TIMED_OUT, outcome_unknown=True)
    answers: list[UpdatedTopic | KafscaleError] = [
        late if isinstance(each, TopicUpdate) else each for each in wanted
    ]
    with trio.move_on_after(min(max(seconds, 0.0), UPDATE_SECONDS_MAX)):
        for place, each in enumerate(wanted):
            if isinstance(each, TopicUpdate):
                answers[place] = await _update(gateway, each, validate_only=validate_only)
        if not validate_only:
            await gateway.topics.wait_updated([each for each in answers if isinstance(each, UpdatedTopic)])
    return answers


async def _update(
    gateway: Gateway, wanted: TopicUpdate, *, validate_only: bool
) -> UpdatedTopic | KafscaleError:
    try:
        return await gateway.metadata.update_topic(wanted, validate_only=validate_only)
    except KafscaleError as error:
        return error
