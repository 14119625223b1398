"""File names for keys: reversible, never too long, never two keys on one path."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.model.errors import Corrupt
from libs.objectstore.paths import FOLDER, PIECE, component_of, path_of

_components = st.text(
    st.characters(min_codepoint=32, blacklist_characters="/", blacklist_categories=["Cs", "Cc"]), min_size=1
).filter(lambda component: component not in {".", ".."})
_tricky = st.sampled_from(
    ["a", "a.d", "a.p", "%", "%64", ".d", "x" * 240, "x" * 241, "x" * 238 + "é.", "x" * 480 + ".d"]
)
keys = st.lists(_components | _tricky, min_size=1, max_size=3).map("/".join)


def key_of(path: tuple[bytes, ...]) -> str:
    components: list[str] = []
    joined = b""
    for name in path[:-1]:
        if name.endswith(PIECE):
            joined += name.removesuffix(PIECE)
        else:
            assert name.endswith(FOLDER)
            components.append(component_of(joined + name.removesuffix(FOLDER)))
            joined = b""
    return "/".join([*components, component_of(joined + path[-1])])


@given(keys)
def test_reversible_and_short(key: str) -> None:
    path = path_of(key)
    assert key_of(path) == key
    assert all(0 < len(name) <= 255 and name not in {b".", b".."} and b"/" not in name for name in path)
    assert not path[-1].endswith((FOLDER, PIECE))


@given(keys, keys)
def test_no_file_is_another_ones_folder(one: str, other: str) -> None:
    if one != other:
        shorter, longer = sorted((path_of(one), path_of(other)), key=len)
        assert longer[: len(shorter)] != shorter


def test_what_people_see() -> None:
    assert path_of("wal/0f3c/start-7") == (b"wal.d", b"0f3c.d", b"start-7")
    assert path_of("t" * 250 + "/x") == (b"t" * 240 + b".p", b"t" * 10 + b".d", b"x")


@pytest.mark.parametrize("name", [b"%", b"%zz", b"%f", b"\xff"])
def test_a_foreign_name_is_corrupt(name: bytes) -> None:
    with pytest.raises(Corrupt):
        component_of(name)
