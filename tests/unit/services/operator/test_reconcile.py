"""reconcile: nothing the second time, from any partial state, and never what is not its own."""

import random
from typing import Any

import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from services.operator.kinds import AUTOSCALERS, SERVICES, STATEFUL_SETS, Key, Object, key_of
from services.operator.kube import HANDOVER_MANAGER
from services.operator.reconcile import Action, Apply, Delete, reconcile
from services.operator.render.cluster import render
from tests.unit.services.operator.fake_kube import FakeKube
from tests.unit.services.operator.making import IMAGE, NAMESPACE, SPECS, cluster, context

OWNERS = Key(STATEFUL_SETS.kind, NAMESPACE, "kafka-partition-owner")
HPA = {"owner": {"autoscaling": {"maxReplicas": 9}}}


def plan(kube: FakeKube, spec: dict[str, Any] | None = None) -> tuple[Action, ...]:
    made = cluster(spec)
    return reconcile(render(context(spec)), kube.objects(), name=made.name, uid=made.uid).actions


def carry_out(kube: FakeKube, spec: dict[str, Any] | None = None) -> tuple[Action, ...]:
    actions = plan(kube, spec)

    async def run() -> None:
        for action in actions:
            if isinstance(action, Apply):
                await kube.apply(action.item, manager=action.manager)
            else:
                await kube.delete(action.key, uid=action.uid)

    trio.run(run)
    return actions


def hpa_scales(kube: FakeKube, replicas: int) -> None:
    def change(item: Object) -> None:
        item["spec"]["replicas"] = replicas

    kube.change(OWNERS, change, manager="kube-controller-manager")


def replicas_of(kube: FakeKube) -> int:
    count: int = kube.objects()[OWNERS]["spec"]["replicas"]
    return count


@given(spec=SPECS)
@settings(max_examples=40, deadline=None)
def test_a_second_pass_does_nothing(spec: dict[str, Any]) -> None:
    kube = FakeKube()
    assert carry_out(kube, spec)
    assert plan(kube, spec) == ()


@given(before=SPECS, after=SPECS, seed=st.integers(0, 999))
@settings(max_examples=40, deadline=None)
def test_it_converges_from_any_partial_state(
    before: dict[str, Any], after: dict[str, Any], seed: int
) -> None:
    """Another spec was carried out in part, and people deleted and changed things since."""
    kube, chance = FakeKube(), random.Random(seed)
    carry_out(kube, before)
    for key, item in kube.objects().items():
        match chance.randrange(3):
            case 0:
                kube.remove(key)
            case 1:
                leaf = chance.choice(["spec", "data"])
                kube.put({**item, leaf: {"broken": True}})
    carry_out(kube, after)
    carry_out(kube, after)  # an HPA's hand-over takes its turn
    assert plan(kube, after) == ()
    assert set(kube.objects()) == {key_of(item) for item in render(context(after))}


def test_a_field_that_the_spec_drops_goes() -> None:
    kube = FakeKube()
    carry_out(kube, {"owner": {"priorityClassName": "high"}})
    carry_out(kube, {"owner": {}})
    assert "priorityClassName" not in kube.objects()[OWNERS]["spec"]["template"]["spec"]


def test_an_object_of_somebody_else_is_left_alone() -> None:
    kube = FakeKube()
    foreign = {
        "apiVersion": "v1",
        "kind": SERVICES.kind,
        "metadata": {"name": "kafka-broker", "namespace": NAMESPACE, "labels": {"app": "theirs"}},
        "spec": {"type": "ExternalName"},
    }
    kube.put(foreign)
    before = kube.objects()
    made = reconcile(render(context()), kube.objects(), name="kafka", uid="cluster-uid")
    key = key_of(foreign)
    assert made.foreign == (key,)
    carry_out(kube)
    assert kube.objects()[key] == before[key]


def test_another_controllers_object_is_left_alone_although_it_has_our_labels() -> None:
    kube = FakeKube()
    carry_out(kube)
    other = cluster(uid="another")
    made = reconcile(render(context()), kube.objects(), name="kafka", uid=other.uid)
    assert len(made.foreign) == len(kube.objects())
    assert made.actions == ()


def test_one_that_a_person_labelled_for_us_is_taken_over_but_never_deleted() -> None:
    kube = FakeKube()
    item = next(item for item in render(context()) if item["metadata"]["name"] == "kafka-broker")
    metadata = {key: value for key, value in item["metadata"].items() if key != "ownerReferences"}
    kube.put({**item, "metadata": metadata})
    kube.put({**item, "metadata": {**metadata, "name": "kafka-spare"}})
    carry_out(kube)
    owned = kube.objects()
    assert owned[key_of(item)]["metadata"]["ownerReferences"]
    assert Key(SERVICES.kind, NAMESPACE, "kafka-spare") in owned


def test_what_is_not_wanted_any_more_goes() -> None:
    kube = FakeKube()
    carry_out(kube, HPA)
    actions = plan(kube, {})
    assert [action.key.kind for action in actions if isinstance(action, Delete)] == [AUTOSCALERS.kind]
    assert isinstance(actions[0], Delete), "the HPA goes before its count is set"


def test_an_hpa_keeps_its_count() -> None:
    kube = FakeKube()
    carry_out(kube, HPA)
    hpa_scales(kube, 7)
    assert plan(kube, HPA) == ()
    carry_out(kube, {**HPA, "image": "kafscale:next"})
    assert replicas_of(kube) == 7


def test_a_count_that_goes_to_an_hpa_is_never_lost() -> None:
    kube = FakeKube()
    carry_out(kube, {"owner": {"replicas": 5}})
    actions = plan(kube, HPA)
    kept = [
        action.item for action in actions if isinstance(action, Apply) and action.manager == HANDOVER_MANAGER
    ]
    assert [item["spec"] for item in kept] == [{"replicas": 5}]
    assert kept[0]["metadata"]["resourceVersion"], "guarded: the HPA may have been faster"
    carry_out(kube, HPA)
    assert replicas_of(kube) == 5
    assert plan(kube, HPA) == ()
    hpa_scales(kube, 6)
    carry_out(kube, {**HPA, "image": "kafscale:next"})
    assert replicas_of(kube) == 6


def test_a_count_comes_back_from_an_hpa() -> None:
    kube = FakeKube()
    carry_out(kube, HPA)
    hpa_scales(kube, 7)
    carry_out(kube, {"owner": {"replicas": 4}})
    assert replicas_of(kube) == 4
    assert plan(kube, {"owner": {"replicas": 4}}) == ()


def test_the_image_of_the_operator_is_the_last_choice() -> None:
    images = {
        item["spec"]["template"]["spec"]["containers"][0]["image"]
        for item in render(context())
        if item["kind"] == STATEFUL_SETS.kind
    }
    assert images == {IMAGE}
