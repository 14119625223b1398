"""A real API server takes everything that the charts render, strictly: it knows every field."""

from pathlib import Path

import pytest
import yaml

from tests.e2e.world import CHART, SAMPLES, World
from tests.support.charts import VALUES as TEST_VALUES

VALUES = sorted([*SAMPLES.glob("values-*.yaml"), *TEST_VALUES.glob("*.yaml")])


@pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)
def test_all_of_it_would_be_applied(
    world: World, operator: str, prometheus_kinds: None, values: Path
) -> None:
    rendered = world.helm("template", "events", str(CHART), "--namespace", "default", "--values", str(values))
    for namespace in ("kafka", "streams"):  # of some values' own choice
        world.add_namespace(namespace)
    items = [item for item in yaml.safe_load_all(rendered) if item]
    assert items
    told = world.kubectl(
        *("apply", "--server-side", "--dry-run=server", "--validate=strict", "--force-conflicts"),
        *("--filename", "-"),
        stdin=yaml.safe_dump_all(items),
    )
    assert told.count("serverside-applied") == len(items)


@pytest.mark.parametrize("sample", ["cluster-minimal", "cluster", "topic"])
def test_samples_of_resources_would_be_applied(world: World, operator: str, sample: str) -> None:
    options = ("--server-side", "--dry-run=server", "--validate=strict", "--namespace", "default")
    world.kubectl("apply", *options, "--filename", str(SAMPLES / f"{sample}.yaml"))
