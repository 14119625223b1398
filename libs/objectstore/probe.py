"""Refuses, at start, a store that would not keep the protocol's one assumption: a key is written once.

Owns: the trial. Does not own: what happens when it fails (the process does not start: promise 7).
Rules: 1 racing conditional puts on fresh keys have exactly one winner, whose bytes are what is read back;
2 lifecycle rules that would delete or archive our objects are refused.
"""

from collections.abc import Sequence
from typing import Protocol

import trio

from libs.concurrency.rand import Rand
from libs.model.errors import Invalid, Unavailable
from libs.objectstore.port import ObjectStore, PutResult

RACERS = 4
ROUNDS = 3
_PREFIX = "probe"


class HasLifecycleRules(Protocol):
    """A store whose bucket may have rules of its own."""

    async def dangerous_rules(self, prefix: str) -> Sequence[str]: ...


async def probe(store: ObjectStore, *, rand: Rand) -> None:
    """Races writers on fresh keys under `probe/`, reads the winners back, deletes them.

    Raises Invalid when the store does not honour If-None-Match, or refuses us; Unavailable when it can't be
    reached. A lost reply is no verdict either way: that is Unavailable too.
    """
    keys = [f"{_PREFIX}/{rand.uuid()}" for _ in range(ROUNDS)]
    bodies = [rand.nonce(32) for _ in range(RACERS)]
    try:
        for key in keys:
            results = await _race(store, key, bodies)
            winners = [
                body for body, result in zip(bodies, results, strict=True) if result is PutResult.CREATED
            ]
            if len(winners) != 1:
                raise Invalid(
                    f"the object store does not honour If-None-Match: of {RACERS} writers of one new key "
                    f"{len(winners)} were told that they created it; Kafscale can't keep data safe on it"
                )
            if await store.get(key) != winners[0]:
                raise Invalid("the object store did not return the bytes that it accepted")
            if await store.put_if_absent(key, bodies[0]) is not PutResult.EXISTS:
                raise Invalid("the object store let a conditional put replace an object")
    finally:
        with trio.move_on_after(10, shield=True):
            await _tidy(store, keys)


async def refuse_dangerous_rules(bucket: HasLifecycleRules, prefix: str) -> None:
    """Raises Invalid when the bucket's lifecycle rules would take our objects away."""
    rules = await bucket.dangerous_rules(prefix)
    if rules:
        raise Invalid(
            f"the bucket's lifecycle would destroy data: {'; '.join(rules)}; "
            "remove the rule, or set KAFSCALE_S3_NAMESPACE to a prefix that it does not touch"
        )


async def _race(store: ObjectStore, key: str, bodies: Sequence[bytes]) -> list[PutResult | None]:
    results: list[PutResult | None] = [None] * len(bodies)
    errors: list[Invalid | Unavailable] = []

    async def write(number: int) -> None:
        try:
            results[number] = await store.put_if_absent(key, bodies[number])
        except (Invalid, Unavailable) as error:
            errors.append(error)

    async with trio.open_nursery() as nursery:
        for number in range(len(bodies)):
            nursery.start_soon(write, number)
    if errors:
        raise errors[0]
    return results


async def _tidy(store: ObjectStore, keys: Sequence[str]) -> None:
    try:
        await store.delete(keys)
    except (Invalid, Unavailable):
        return  # a few bytes stay behind; the error that matters is on its way
