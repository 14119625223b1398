"""The pages that are written from the code are current, and no metric is missing from them."""

import re
from pathlib import Path

from tools import metrics_doc, settings_doc

ROOT = Path(__file__).resolve().parents[3]


def test_settings_are_current() -> None:
    said = "write it again: python -m tools.settings_doc"
    assert settings_doc.DOCUMENT.read_text() == settings_doc.document(), said


def test_metrics_are_current() -> None:
    said = "write it again: python -m tools.metrics_doc"
    assert metrics_doc.DOCUMENT.read_text() == metrics_doc.document(), said


def test_each_metric_that_the_code_names_is_on_the_page() -> None:
    page = metrics_doc.document()
    named = {
        name
        for folder in ("libs", "services")
        for file in (ROOT / folder).rglob("*.py")
        for name in re.findall(r'"(kafscale_\w+)"', file.read_text())
    } - {"kafscale_tracer"}
    missing = [name for name in sorted(named) if f"`{name}`" not in page and f"`{name}_total`" not in page]
    assert not missing, "make it where tools/metrics_doc.py looks"
