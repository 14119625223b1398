"""Why a pod is not ready, in the words of its status; and that a cluster's condition has them."""

import json
from typing import Any

import pytest

from services.operator.conditions import READY
from services.operator.kinds import PODS, Key, Object
from services.operator.pods import trouble
from tests.unit.services.operator.making import NAMESPACE, cluster_object
from tests.unit.services.operator.running import running

NOT_READY = {"type": "Ready", "status": "False"}
REFUSED = "etcd refuses user 'kafscale'"
FAILED = json.dumps({"event": "process_failed", "error": REFUSED, "timestamp": "2026-01-01T00:00:00Z"})
STOPPED = json.dumps({"event": "process_stopped", "exit_code": 1})


def pod(*containers: Object, name: str = "kafka-metadata-0", **status: Any) -> Object:
    told = {"conditions": [NOT_READY], "containerStatuses": list(containers), **status}
    return {"metadata": {"name": name, "namespace": NAMESPACE}, "status": told}


def ended(message: str, code: int = 1) -> Object:
    return {"terminated": {"exitCode": code, "reason": "Error", "message": message}}


@pytest.mark.parametrize(
    ("container", "told"),
    [
        ({"state": ended(f"{FAILED}\n{STOPPED}\n")}, f"ended with 1: {REFUSED}"),
        ({"state": {"running": {}}, "lastState": ended(FAILED)}, f"ended with 1: {REFUSED}"),
        (
            {
                "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}},
                "lastState": ended(FAILED),
            },
            f"ended with 1: {REFUSED}",
        ),
        ({"state": ended("usage: ...\nerror: no such variable", 2)}, "ended with 2: error: no such variable"),
        ({"state": ended("", 137)}, "ended with 137: Error"),
        ({"state": ended("[]\n7\nthe end")}, "ended with 1: the end"),
        (
            {
                "state": {
                    "waiting": {
                        "reason": "CreateContainerConfigError",
                        "message": 'secret "kafscale-etcd" not found',
                    }
                }
            },
            'waits, CreateContainerConfigError: secret "kafscale-etcd" not found',
        ),
    ],
)
def test_what_a_container_tells(container: Object, told: str) -> None:
    assert trouble([pod(container)]) == f"pod kafka-metadata-0 {told}"


def test_a_pod_that_no_node_takes() -> None:
    message = "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector."
    scheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    assert trouble([pod(conditions=[scheduled])]) == f"pod kafka-metadata-0 is on no node: {message}"


@pytest.mark.parametrize(
    "fine",
    [
        {"metadata": {"name": "new"}},
        pod({"state": {"waiting": {"reason": "ContainerCreating"}}}),
        pod({"state": {"running": {}}}),
        pod({"state": ended("", 0)}),
        pod(
            {"state": {"running": {}}, "lastState": ended(FAILED)},
            conditions=[{"type": "Ready", "status": "True"}],
        ),
        {
            **pod({"state": ended(FAILED)}),
            "metadata": {"name": "going", "deletionTimestamp": "2026-01-01T00:00:00Z"},
        },
    ],
)
def test_what_is_on_its_way_is_no_trouble(fine: Object) -> None:
    assert trouble([fine]) == ""


def test_the_first_pod_that_has_one_is_told_of() -> None:
    pods = [pod({"state": ended(FAILED)}, name=f"kafka-metadata-{index}") for index in (2, 1)]
    assert trouble([pod({"state": {"running": {}}}), *pods]).startswith("pod kafka-metadata-1 ")


async def test_the_condition_says_it(autojump_clock: object) -> None:
    def fail(item: Object) -> None:
        item["status"]["conditions"] = [NOT_READY]
        item["status"]["containerStatuses"][0]["lastState"] = ended(FAILED)

    async with running() as world:
        world.kube.put(cluster_object())
        await world.wait(lambda: world.holds(READY))
        world.kube.change(Key(PODS.kind, NAMESPACE, "kafka-metadata-0"), fail, manager="kubelet")
        await world.wait(lambda: REFUSED in world.condition(READY)["message"])
        assert world.condition(READY)["message"] == (
            f"kafka-metadata has 1 of 2 pods ready (pod kafka-metadata-0 ended with 1: {REFUSED})"
        )
