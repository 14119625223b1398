"""Links between the documents lead somewhere, and a file named in them exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
_LINK = re.compile(r"\]\((?!https?://)([^)#]+)(?:#[^)]*)?\)")
_CODE = re.compile(r"`[^`]*`")
_FILE = re.compile(r"`((?:libs|services|tests|tools|docs|proto)/[a-z0-9_/.-]+\.(?:py|md|proto))(?::[\w.]+)?`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_files_of_a_page_exist(page: Path) -> None:
    text = page.read_text()
    missing = [link for link in _LINK.findall(_CODE.sub("", text)) if not (page.parent / link).exists()]
    missing += [file for file in _FILE.findall(text) if not (ROOT / file).exists()]
    assert not missing
