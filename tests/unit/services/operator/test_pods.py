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
WARNED = json.dumps({"event": "lease_not_renewed", "error": "no answer in 2 s"})
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
        ({"state": ended("[]\n7\nthe end\n \n")}, "ended with 1: the end"),
        ({"state": ended("[" * 2048)}, f"ended with 1: {'[' * 200}"),
        ({"state": ended("{" * 2048)}, f"ended with 1: {'{' * 200}"),
        ({"state": ended('{"a":' * 2048)}, f"ended with 1: {('{' + chr(34) + 'a' + chr(34) + ':') * 40}"),
        ({"state": ended(f"{WARNED}\nTraceback:\nRuntimeError: boom\n")}, "ended with 1: RuntimeError: boom"),
        (
            {"state": {"terminated": {"exitCode": 137, "reason": "OOMKilled", "message": "flushed"}}},
            "ended with 137: OOMKilled, flushed",
        ),
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


def test_a_container_that_is_ready_is_not_blamed() -> None:
    sidecar = {"ready": True, "state": {"running": {}}, "lastState": ended("upstream gone")}
    own = {"ready": False, "state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off"}}}
    assert trouble([pod(sidecar, own)]) == "pod kafka-metadata-0 waits, ImagePullBackOff: Back-off"


def test_an_init_container_may_be_what_fails() -> None:
    own = {"state": {"waiting": {"reason": "PodInitializing"}}}
    inits = [{"ready": True, "state": ended("", 0)}, {"state": ended("no NET_ADMIN")}]
    told = trouble([pod(own, initContainerStatuses=inits)])
    assert told == "pod kafka-metadata-0 ended with 1: no NET_ADMIN"


def test_a_pod_that_was_evicted() -> None:
    told = trouble([pod(reason="Evicted", message="the node was low on memory")])
    assert told == "pod kafka-metadata-0 failed, Evicted: the node was low on memory"


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
