"""The control port as people use it: grpcurl and curl, on one process that is all and on each service."""

import json
from functools import partial
from itertools import chain
from typing import Any

import httpx
import pytest

from tests.support.background import Background
from tests.support.clients import create_topic, produce_all
from tests.support.control import CONTROL, call, get, grpcurl, metric_families, metric_value
from tests.support.names import unique
from tests.support.platform import Platform
from tools.stack.layout import GATEWAYS, METADATA, OWNERS, SERVICES

PARTITIONS = 8
FOREIGN = ("process_", "python_info")
"""What every Prometheus client tells of its process."""
SERVICE_NAMES = {"gateway": "gateway", "owner": "partition-owner", "metadata": "metadata"}


def _processes(platform: Platform) -> list[str]:
    return list(SERVICES) if platform.mode == "stack" else ["standalone"]


def _owners(platform: Platform) -> list[str]:
    return list(OWNERS) if platform.mode == "stack" else ["standalone"]


def _filled(platform: Platform) -> str:
    topic = unique("controlled")
    create_topic(platform.bootstrap, topic, PARTITIONS)
    produce_all(platform.bootstrap, topic, [(index, b"x") for index in range(PARTITIONS)])
    return topic


def test_every_process_tells_its_services_its_health_and_its_state(platform: Platform) -> None:
    for name in _processes(platform):
        address = platform.control(name)
        listed = grpcurl(address, "list").stdout.split()
        assert {CONTROL, "grpc.health.v1.Health"} <= set(listed)
        health = grpcurl(address, "grpc.health.v1.Health/Check")
        assert json.loads(health.stdout) == {"status": "SERVING"}
        status = call(address, "GetStatus")
        assert status["service"] == SERVICE_NAMES.get(name.partition("-")[0], name)
        assert (status["ready"], status["draining"]) == (True, False)
        assert status["version"]


def test_partitions_are_told_with_their_frontiers(platform: Platform) -> None:
    topic = _filled(platform)
    found = []
    for owner in _owners(platform):
        status = call(platform.control(owner), "GetStatus")
        assert status["session"]
        assert status["buffered_bytes"] == "0"
        found += [each for each in status["partitions"] if each["topic"] == topic]
    assert sorted(each["partition"] for each in found) == list(range(PARTITIONS))
    for each in found:
        assert each["state"] == "open"
        frontiers = ("log_start_offset", "high_watermark", "in_flight_offset", "assigned_offset")
        assert [each[name] for name in frontiers] == ["0", "1", "1", "1"]


def test_a_flush_is_answered_with_nothing_left_to_do(platform: Platform) -> None:
    _filled(platform)
    for owner in _owners(platform):
        assert call(platform.control(owner), "TriggerFlush") == {"flushed": []}
        unknown = {"partitions": [{"topic": unique("unknown"), "partition": 0}]}
        refused = grpcurl(platform.control(owner), f"{CONTROL}/TriggerFlush", request=unknown)
        assert "NotFound" in refused.stderr


def test_metrics_stream_until_the_caller_leaves(platform: Platform) -> None:
    for name in _processes(platform):
        streamed = grpcurl(platform.control(name), f"{CONTROL}/StreamMetrics", flags=("-max-time", "0.5"))
        sample, _ = json.JSONDecoder().raw_decode(streamed.stdout)
        assert int(sample["timestamp_ms"]) > 0
        names = {each["name"] for each in sample["metrics"]}
        assert any(name.startswith("kafscale_") for name in names)
        assert [name for name in names if not name.startswith(("kafscale_", *FOREIGN))] == []


def test_metrics_are_told_once_each_under_our_prefix(platform: Platform) -> None:
    _filled(platform)
    for name in _processes(platform):
        response = get(platform.control(name), "/metrics")
        assert response.headers["content-type"].startswith("text/plain")
        families = metric_families(response.text)
        assert [family for family in families if not family.startswith(("kafscale_", *FOREIGN))] == []
        assert not [each for each in families if each.endswith(("_total_total", "_seconds_seconds"))]
    for owner in _owners(platform):
        text = get(platform.control(owner), "/metrics").text
        assert metric_value(text, "kafscale_puts_per_gib") > 0
        assert metric_value(text, "kafscale_chain_puts_total") > 0
        assert metric_value(text, "kafscale_partitions") > 0
        assert metric_value(text, "kafscale_buffer_bytes_max") > metric_value(text, "kafscale_buffer_bytes")
    gateways = GATEWAYS if platform.mode == "stack" else ["standalone"]
    for gateway in gateways:
        assert metric_value(get(platform.control(gateway), "/metrics").text, "kafscale_requests_total") > 0


def test_health_is_told_to_curl_and_unknown_paths_are_refused(platform: Platform) -> None:
    for name in _processes(platform):
        address = platform.control(name)
        assert get(address, "/healthz").status_code == httpx.codes.OK
        assert get(address, "/readyz").status_code == httpx.codes.OK
        assert get(address, "/nothing").status_code == httpx.codes.NOT_FOUND


def test_a_drain_without_another_owner_says_so(embedded: Platform) -> None:
    _filled(embedded)
    request = {"all_assigned": True, "reason": "a test", "deadline_seconds": 5}
    refused = grpcurl(embedded.control("standalone"), f"{CONTROL}/DrainPartitions", request=request)
    assert refused.code != 0
    assert "FailedPrecondition" in refused.stderr
    assert "nobody can take over" in refused.stderr
    _filled(embedded)


@pytest.mark.parametrize("name", [GATEWAYS[0], METADATA[0]])
def test_what_a_process_has_not_is_refused_plainly(stack: Background[Platform], name: str) -> None:
    for method in ("DrainPartitions", "TriggerFlush"):
        refused = grpcurl(stack.value.control(name), f"{CONTROL}/{method}")
        assert "send " + method + " to a partition owner" in refused.stderr


def test_a_drain_of_one_partition_hands_it_over(stack: Background[Platform]) -> None:
    """To whom, and whether it comes back for the balance's sake, is the controller's affair."""
    platform = stack.value
    topic = _filled(platform)
    partition = _partitions(platform, OWNERS[0], topic)[0]["partition"]
    asked = {"topic": topic, "partition": partition}
    request = {"partitions": [asked], "reason": "a test", "deadline_seconds": 20}
    answer = call(platform.control(OWNERS[0]), "DrainPartitions", request)
    assert answer == {"drained": [asked], "pending": []}
    produce_all(platform.bootstrap, topic, [(partition, b"y")])
    everywhere = chain.from_iterable(_partitions(platform, owner, topic) for owner in OWNERS)
    found = [each for each in everywhere if each["partition"] == partition]
    assert [each["high_watermark"] for each in found] == ["2"]
    assert found[0]["leader_epoch"] >= 1


def test_a_drained_owner_has_nothing_until_it_is_restarted(stack: Background[Platform]) -> None:
    platform = stack.value
    topic = _filled(platform)
    drained, others = OWNERS[2], OWNERS[:2]
    before = call(platform.control(drained), "GetStatus")["partitions"]
    request = {"all_assigned": True, "reason": "a test", "deadline_seconds": 30}
    answer = call(platform.control(drained), "DrainPartitions", request)
    assert answer["pending"] == []
    assert len(answer["drained"]) == len(before)
    produce_all(platform.bootstrap, topic, [(index, b"y") for index in range(PARTITIONS)])
    assert _partitions(platform, drained, topic) == []
    found = list(chain.from_iterable(_partitions(platform, owner, topic) for owner in others))
    assert [each["high_watermark"] for each in found] == ["2"] * PARTITIONS
    assert platform.stack is not None
    stack.call(partial(platform.stack.restart, drained))
    assert len(_partitions(platform, drained, _filled(platform))) > 0


def _partitions(platform: Platform, owner: str, topic: str) -> list[dict[str, Any]]:
    status = call(platform.control(owner), "GetStatus")
    return [each for each in status["partitions"] if each["topic"] == topic]
