"""An operator that dies at a chosen moment: the API server holds one of its writes back, then it is killed.

Owns: the kill, what is held back, what was seen of a count meanwhile. Does not own: the judgement.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.e2e.api import MERGE, ApiError, Object
from tests.e2e.control_plane import wait_until
from tests.e2e.world import World

OPERATOR = "kafscale-operator"
"""Its field manager, and its Deployment's name."""
_POLICIES = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
_BINDINGS = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings"
_REFUSAL = "held back by the test"
_END = "e2e.kafscale.io/seen-to-the-end"


def kill_operator(world: World, namespace: str) -> None:
    """SIGKILL for each pod of it."""
    for pod in world.pods(namespace, "operator"):
        options = ("--namespace", namespace, "--grace-period=0", "--force", "--wait=false")
        world.kubectl("delete", "pod", pod["metadata"]["name"], *options)


@contextmanager
def held_back(world: World, group: str, plural: str, probe: str, *, unless: str) -> Iterator[None]:
    """The API server refuses the operator's writes of a kind, except where `unless` (CEL) holds.

    `probe`: an object that is there, by which is seen when that begins.
    """
    name = "held-back"
    rule = {
        "apiGroups": [group],
        "apiVersions": ["*"],
        "operations": ["CREATE", "UPDATE"],
        "resources": [plural],
    }
    others = f"!has(request.options.fieldManager) || request.options.fieldManager != '{OPERATOR}'"
    policy = {
        "metadata": {"name": name},
        "spec": {
            "matchConstraints": {"resourceRules": [rule]},
            "validations": [{"expression": f"{others} || ({unless})", "message": _REFUSAL}],
        },
    }
    world.call("POST", _POLICIES, policy)
    binding = {"policyName": name, "validationActions": ["Deny"]}
    world.call("POST", _BINDINGS, {"metadata": {"name": name}, "spec": binding})
    try:
        wait_until(lambda: _is_refused(world, probe), "it is held back", seconds_max=30)
        yield
    finally:
        world.call("DELETE", f"{_BINDINGS}/{name}")
        world.call("DELETE", f"{_POLICIES}/{name}")


def _is_refused(world: World, path: str) -> bool:
    query = {"fieldManager": OPERATOR, "dryRun": "All"}
    try:
        world.call("PATCH", path, {"metadata": {"labels": {"tried": "yes"}}}, content_type=MERGE, **query)
    except ApiError as error:
        if _REFUSAL not in error.message:
            raise
        return True
    return False


@contextmanager
def counts_seen(world: World, path: str) -> Iterator[set[int]]:
    """Every replica count that a StatefulSet has while the block runs, however shortly; whole at its end."""
    found: set[int] = set()
    begun = world.call("GET", path)
    ready = threading.Event()
    errors: list[str] = []
    watch = threading.Thread(target=_watch, args=(world, begun, found, ready, errors), daemon=True)
    watch.start()
    assert ready.wait(30), errors
    try:
        yield found
    finally:
        world.call("PATCH", path, {"metadata": {"annotations": {_END: "true"}}}, content_type=MERGE)
        watch.join(30)
        world.call("PATCH", path, {"metadata": {"annotations": {_END: None}}}, content_type=MERGE)
    assert not watch.is_alive(), "the last of it was not seen"
    assert not errors, errors


def _watch(world: World, begun: Object, found: set[int], ready: threading.Event, errors: list[str]) -> None:
    metadata = begun["metadata"]
    query = {
        "watch": "true",
        "fieldSelector": f"metadata.name={metadata['name']}",
        "resourceVersion": metadata["resourceVersion"],
    }
    path = f"/apis/apps/v1/namespaces/{metadata['namespace']}/statefulsets"
    try:
        with (
            world.plane.access.client() as client,
            client.stream("GET", path, params=query, timeout=600) as answer,
        ):
            answer.raise_for_status()
            ready.set()
            for line in answer.iter_lines():
                item = json.loads(line)["object"]
                found.add(item["spec"]["replicas"])
                if _END in (item["metadata"].get("annotations") or {}):
                    return
    except Exception as error:  # a thread's error comes out in the test
        errors.append(repr(error))
