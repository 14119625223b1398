"""Chance: replayable with a seed, unique without one."""

import pytest

from libs.concurrency.rand import Rand, SeededRand, SystemRand


def draw(rand: Rand) -> list[object]:
    return [
        rand.random(),
        rand.uniform(2, 3),
        rand.integer(1, 6),
        rand.choice("abc"),
        rand.uuid(),
        rand.nonce(8),
    ]


def test_one_seed_is_one_sequence() -> None:
    assert draw(SeededRand(7)) == draw(SeededRand(7))
    assert draw(SeededRand(7)) != draw(SeededRand(8))


@pytest.mark.parametrize("rand", [SeededRand("seed"), SystemRand()])
def test_ranges(rand: Rand) -> None:
    for _ in range(50):
        assert 0 <= rand.random() < 1
        assert 2 <= rand.uniform(2, 3) <= 3
        assert rand.integer(1, 3) in {1, 2, 3}
        assert rand.choice((4, 5)) in {4, 5}
        assert rand.uuid().version == 4
        assert len(rand.nonce(8)) == 8


def test_system_ids_differ() -> None:
    assert SystemRand().uuid() != SystemRand().uuid()
