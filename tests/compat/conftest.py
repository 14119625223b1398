"""Both modes of the platform, each started once for all compatibility tests."""

from collections.abc import Iterator
from functools import partial

import pytest

from tests.support.background import Background, running
from tests.support.platform import Mode, Platform, open_platform


def _open(mode: Mode, factory: pytest.TempPathFactory) -> Iterator[Background[Platform]]:
    with running(partial(open_platform, mode, factory.mktemp(mode))) as background:
        yield background


@pytest.fixture(scope="session")
def embedded_in_background(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Background[Platform]]:
    yield from _open("embedded", tmp_path_factory)


@pytest.fixture(scope="session")
def stack_in_background(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Background[Platform]]:
    yield from _open("stack", tmp_path_factory)


@pytest.fixture(params=["embedded", "stack"])
def platform(request: pytest.FixtureRequest) -> Platform:
    """The test runs once in each mode."""
    background: Background[Platform] = request.getfixturevalue(f"{request.param}_in_background")
    return background.value


@pytest.fixture
def stack(stack_in_background: Background[Platform]) -> Background[Platform]:
    """For tests that kill and restart."""
    return stack_in_background


@pytest.fixture
def embedded(embedded_in_background: Background[Platform]) -> Platform:
    """For tests of what one process alone can say."""
    return embedded_in_background.value
