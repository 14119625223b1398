"""Processes for seeds."""

import os
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from tests.sim.world.determinism import HASH_SEED

JOBS = 2


@pytest.fixture(scope="session")
def pool() -> Iterator[Executor]:
    """Processes whose hashes are fixed, as a seed's are wherever it is run."""
    before = os.environ.get("PYTHONHASHSEED")
    os.environ["PYTHONHASHSEED"] = HASH_SEED
    try:
        with ProcessPoolExecutor(max_workers=JOBS, mp_context=get_context("spawn")) as executor:
            yield executor
    finally:
        if before is None:
            del os.environ["PYTHONHASHSEED"]
        else:
            os.environ["PYTHONHASHSEED"] = before
