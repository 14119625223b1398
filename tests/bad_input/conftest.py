"""A stack whose gateways are processes of their own, and a client that must notice nothing."""

from collections.abc import Iterator
from functools import partial

import pytest

from tests.support.background import Background, running
from tests.support.platform import Platform, open_platform


@pytest.fixture(scope="package")
def stack_in_background(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Background[Platform]]:
    with running(partial(open_platform, "stack", tmp_path_factory.mktemp("stack"))) as background:
        yield background


@pytest.fixture
def stack(stack_in_background: Background[Platform]) -> Platform:
    return stack_in_background.value
