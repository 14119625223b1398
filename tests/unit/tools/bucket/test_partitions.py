"""The judgement of a partition, by its state and by the bucket alone."""

import pytest

from libs.model.cluster import ChainPosition, PartitionState
from libs.model.ids import ChainSeq, LeaderEpoch, Offset, Partition, TopicName
from libs.segments.keys import ManifestName, PartitionFolder
from tests.support.segments import SEALER, SESSION, TOPIC_ID, tp
from tools.bucket.chains import Chain, Run, RunKey
from tools.bucket.folders import Folder, ManifestFacts
from tools.bucket.partitions import Found, judge_alone, judge_state

TP = tp(0)


def run(base: int, end: int, *, epoch: int = 1, first: int = 0) -> Run:
    session = SESSION if epoch == 1 else SEALER
    return Run(
        session=session,
        leader_epoch=epoch,
        from_seq=first,
        to_seq=first + 10,
        base_offset=base,
        end_offset=end,
    )


def found(*runs: Run, manifest_end: int | None = None, missing: tuple[str, ...] = ()) -> Found:
    result = Found()
    for each in runs:
        chain = result.chains.setdefault(each.session, Chain(session=each.session, start=0, end=10))
        chain.runs[RunKey(TP, each.leader_epoch)] = each
    if manifest_end is not None:
        folder = Folder(folder=PartitionFolder(TopicName("t"), TOPIC_ID, Partition(0)))
        folder.manifests["m"] = ManifestFacts(
            key="m",
            name=ManifestName(LeaderEpoch(1), 0),
            log_start=0,
            end_offset=manifest_end,
            hole=None,
            missing=missing,
        )
        result.folders[TP] = folder
    return result


def state(
    *epochs: int, log_start: int = 0, released: int | None = None, manifest: str = "", to: int = 10
) -> PartitionState:
    return PartitionState(
        log_start_offset=Offset(log_start),
        manifest_key=manifest,
        positions=tuple(
            ChainPosition(
                session=SESSION if epoch == 1 else SEALER,
                leader_epoch=LeaderEpoch(epoch),
                from_seq=ChainSeq(0),
                to_seq=ChainSeq(to),
            )
            for epoch in epochs
        ),
        released_offset=None if released is None else Offset(released),
    )


RIGHT = [
    (state(), found()),
    (state(1, 2, released=9), found(run(0, 5), run(5, 9, epoch=2))),
    (state(1, 2, manifest="m"), found(run(0, 5), run(5, 9, epoch=2), manifest_end=3)),
    (state(2, manifest="m", released=9), found(run(5, 9, epoch=2), manifest_end=5)),
    (state(manifest="m", released=5), found(manifest_end=5)),
    (state(1, log_start=3), found(run(0, 5))),
]
WRONG = [
    ("hole", state(1, 2), found(run(0, 5), run(6, 9, epoch=2))),
    ("two values", state(1, 2), found(run(0, 5), run(4, 9, epoch=2))),
    ("hole", state(1), found(run(2, 5))),
    ("hole", state(2, manifest="m"), found(run(6, 9, epoch=2), manifest_end=5)),
    ("hole", state(1, released=6), found(run(0, 5))),
    ("hole", state(1, log_start=7), found(run(0, 5))),
    ("missing", state(1, manifest="gone"), found(run(0, 5))),
    ("missing", state(manifest="m"), found(manifest_end=5, missing=("x",))),
    ("missing", state(1, to=11), found(run(0, 5))),
]


@pytest.mark.parametrize(("partition", "bucket"), RIGHT)
def test_what_is_right(partition: PartitionState, bucket: Found) -> None:
    assert judge_state(TP, partition, bucket) == []


@pytest.mark.parametrize(("kind", "partition", "bucket"), WRONG)
def test_what_is_wrong(kind: str, partition: PartitionState, bucket: Found) -> None:
    assert kind in {problem.kind for problem in judge_state(TP, partition, bucket)}


def test_the_bucket_alone() -> None:
    folder = found(manifest_end=5).folders[TP]
    assert judge_alone(folder, [run(0, 5), run(5, 9, epoch=2)], collected=False) == []
    assert judge_alone(None, [run(2, 5)], collected=True) == []
    assert [each.kind for each in judge_alone(None, [run(2, 5)], collected=False)] == ["hole"]
    assert [each.kind for each in judge_alone(folder, [run(6, 9)], collected=True)] == ["hole"]
