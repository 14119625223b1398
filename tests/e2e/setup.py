"""What `python -m tests.e2e` made for the tests that it runs.

Owns: the file between the two. Does not own: making or using it.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

SETUP_VARIABLE = "E2E_SETUP"
"""Environment variable: the file; without it the tests of this folder are not collected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    folder: str
    """For everything that the tests write."""
    images: Mapping[str, Mapping[str, Any]]
    """As the node agent takes them."""

    def dumps(self) -> str:
        return json.dumps(asdict(self))


def load() -> Setup | None:
    """None outside of `python -m tests.e2e`."""
    path = os.environ.get(SETUP_VARIABLE)
    return None if path is None else Setup(**json.loads(Path(path).read_text()))
