"""Helm, once for all tests of the charts; what it renders is kept: each set of values is rendered once."""

import pytest

from tests.support.charts import Helm
from tools.toolchain import tool_path


@pytest.fixture(scope="session")
def helm() -> Helm:
    return Helm(tool_path("helm"))
