"""One world for all tests of this folder, which run inside `python -m tests.e2e` only."""

import sys
from collections.abc import Iterator

import pytest

from tests.e2e.install import install_operator
from tests.e2e.setup import load
from tests.e2e.world import World, open_world
from tools.toolchain import prometheus_crds

if load() is None:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    setup = load()
    assert setup is not None, "python -m tests.e2e runs these"
    with open_world(setup) as world:
        yield world


@pytest.fixture(scope="module")
def operator(world: World) -> str:
    """The operator from the chart, with CRDs; its namespace."""
    return install_operator(world)


@pytest.fixture(scope="module")
def operator_apart(world: World) -> str:
    """The same in the image of its own."""
    return install_operator(world, "--set", "operator.image.repository=kafscale-operator")


@pytest.fixture(scope="session")
def prometheus_kinds(world: World) -> None:
    """ServiceMonitor and PrometheusRule, as the Prometheus operator brings them."""
    for path in prometheus_crds():
        world.kubectl("apply", "--server-side", "--filename", str(path))
        name = f"{path.stem}.monitoring.coreos.com"
        world.kubectl(
            "wait", f"customresourcedefinition/{name}", "--for=condition=Established", "--timeout=30s"
        )


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Iterator[list[str]]:
    """What a test measured, printed whether it passes or not."""
    lines: list[str] = []
    yield lines
    with capsys.disabled():
        sys.stdout.write("".join(f"\n  measured: {line}" for line in lines))
