"""Topic names."""

import pytest

from libs.model.errors import Invalid, Reason
from services.gateway.topics import check_topic_name


@pytest.mark.parametrize("name", ["a", "A.b_c-9", "x" * 249, "...", "__consumer_offsets"])
def test_names(name: str) -> None:
    assert check_topic_name(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", "x" * 250, "a/b", "a b", "ä", "a\n", "a\x00b"])
def test_no_names(name: str) -> None:
    with pytest.raises(Invalid) as caught:
        check_topic_name(name)
    assert caught.value.reason is Reason.INVALID_TOPIC_NAME
