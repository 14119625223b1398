"""One stack for the whole package: a test leaves every process running."""

from collections.abc import Iterator

import pytest

from tests.chaos.scene import Scene, open_scene


@pytest.fixture(scope="package")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with open_scene(tmp_path_factory.mktemp("chaos")) as scene:
        yield scene


@pytest.fixture(autouse=True)
def all_run_again(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that fails leaves nothing dead to the next one."""
    yield
    if "scene" in request.fixturenames:
        request.getfixturevalue("scene").restart_dead()
