"""Names that no other test of the run uses, so that tests share one platform."""

import itertools

_numbers = itertools.count()


def unique(stem: str) -> str:
    return f"{stem}-{next(_numbers)}"
