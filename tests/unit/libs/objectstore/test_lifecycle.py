"""Lifecycle rules, as S3 returns them."""

from typing import Any

import pytest

from libs.objectstore.lifecycle import dangerous_rules

EXPIRES: dict[str, Any] = {
    "ID": "r",
    "Status": "Enabled",
    "Filter": {"Prefix": ""},
    "Expiration": {"Days": 1},
}


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"Filter": {}},
        {"Filter": {"Prefix": "ours/"}},
        {"Filter": {"Prefix": "ours/wal/"}},
        {"Filter": {"And": {"Prefix": "ou", "ObjectSizeGreaterThan": 5}}},
        {"Expiration": {"Date": "2030-01-01"}},
        {"Expiration": {}, "Transitions": [{"Days": 1, "StorageClass": "GLACIER"}]},
    ],
)
def test_dangerous(change: dict[str, Any]) -> None:
    assert len(dangerous_rules([{**EXPIRES, **change}], "ours")) == 1


def test_the_old_form_of_prefix() -> None:
    rule = {"ID": "r", "Status": "Enabled", "Prefix": "theirs", "Expiration": {"Days": 1}}
    assert dangerous_rules([rule], "ours") == []
    assert len(dangerous_rules([rule], "")) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"Status": "Disabled"},
        {"Filter": {"Prefix": "theirs/"}},
        {"Filter": {"Tag": {"Key": "a", "Value": "b"}}},
        {"Filter": {"And": {"Prefix": "", "Tags": [{"Key": "a", "Value": "b"}]}}},
        {"Expiration": {"ExpiredObjectDeleteMarker": True}},
        {"Expiration": {}, "NoncurrentVersionExpiration": {"NoncurrentDays": 1}},
        {"Expiration": {}, "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1}},
        {"Expiration": {}, "Transitions": [{"Days": 1, "StorageClass": "STANDARD_IA"}]},
    ],
)
def test_harmless(change: dict[str, Any]) -> None:
    assert dangerous_rules([{**EXPIRES, **change}], "ours") == []
