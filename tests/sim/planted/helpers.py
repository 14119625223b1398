"""Words that some planted bugs need: what is too long for the line that they change.

Owns: these. Production code does not know them.
"""

from collections.abc import Awaitable
from typing import TypeVar

from libs.model.errors import Unavailable

T = TypeVar("T")


async def taken_as_done(call: Awaitable[T], hoped: T) -> T:
    """What was hoped for, where nobody knows."""
    try:
        return await call
    except Unavailable as error:
        if error.outcome_unknown:
            return hoped
        raise
