"""The images' tool: what it asks of buildah and pip, and that its rules refuse what they are for."""

import json
import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tools.images import __main__ as images_main
from tools.images.__main__ import main
from tools.images.base import Mirror, choose_mirror
from tools.images.buildah import BASE, build_command, need, pip_source
from tools.images.look import LABELS, PORTS, size_bytes, wrong_in_config, wrong_inside, wrong_on_disk
from tools.images.sandbox import Image, ImageConfig, parse_config
from tools.images.targets import ALL, ROOT, SERVICES, TARGETS, image_name, missing_services, version_of
from tools.recipes import ToolchainError

CONTAINERFILE = (ROOT / "Containerfile").read_text()
GOOD: Mapping[str, Any] = {
    "uid": 10001,
    "gid": 10001,
    "groups": [],
    "capabilities": 0,
    "read_only": True,
    "writable": ["/tmp", "/data"],
    "modules": [],
    "programs": [],
}


def pins(name: str) -> set[str]:
    return set(re.findall(r"^[\w.-]+==\S+", (ROOT / name).read_text(), re.MULTILINE))


def test_the_containerfile_has_the_targets_and_the_one_for_all_is_last() -> None:
    stages = re.findall(r"^FROM \S+ AS (\S+)$", CONTAINERFILE, re.MULTILINE)
    assert tuple(stages) == ("build", "runtime", *TARGETS)
    assert f"ARG BASE={BASE}\n" in CONTAINERFILE


@pytest.mark.parametrize(("target", "module"), SERVICES.items())
def test_a_target_runs_its_service(target: str, module: str) -> None:
    stage = CONTAINERFILE.split(f" AS {target}\n")[1].split("\nFROM ")[0]
    assert f'ENTRYPOINT ["python", "-m", "{module}"]' in stage
    assert f'title="{image_name(target, "x").removesuffix(":x")}"' in stage


def test_the_image_of_all_has_the_name_and_the_tag_that_the_charts_have() -> None:
    assert "repository: kafscale\n" in (ROOT / "charts/kafscale/values.yaml").read_text()
    assert f'appVersion: "{version_of(ROOT)}"' in (ROOT / "charts/kafscale/Chart.yaml").read_text()
    assert image_name(ALL, "1.2") == "kafscale:1.2"


def test_images_have_what_the_services_need_at_the_versions_that_are_tested() -> None:
    """After a change of dependencies `make lock` writes all three."""
    only_to_build = {
        pin.split("==")[0] for pin in pins("requirements.lock") - pins("requirements-runtime.lock")
    }
    assert only_to_build == {"grpcio", "grpcio-tools", "setuptools"}
    assert pins("requirements-runtime.lock") < pins("requirements.lock")


def test_a_service_that_is_not_in_the_tree_is_named(tmp_path: Path) -> None:
    (tmp_path / "services/gateway").mkdir(parents=True)
    (tmp_path / "services/gateway/__main__.py").touch()
    assert missing_services(tmp_path) == ("partition-owner", "metadata", "operator", "standalone")


def test_a_build_is_told_bases_and_secrets() -> None:
    command = build_command(
        "gateway",
        image="kafscale-gateway:1",
        arguments={"BASE": "some:base"},
        secrets={"pip-conf": Path("a/pip.conf")},
        contexts={"etcd-programs": Path("b")},
    )
    assert command[0] == "build"
    assert command[-1] == str(ROOT)
    told = [*pairwise(command)]
    assert ("--target", "gateway") in told
    assert ("--tag", "kafscale-gateway:1") in told
    assert ("--build-arg", "BASE=some:base") in told
    assert ("--secret", "id=pip-conf,src=a/pip.conf") in told
    assert ("--build-context", "etcd-programs=b") in told


def test_pip_is_told_its_sources_and_no_folder_of_this_machine() -> None:
    listing = "\n".join(
        (
            ":env:.disable-pip-version-check='1'",
            ":env:.find-links='/some/wheels'",
            ":env:.index-url='https://index.example/a%20b?c=d'",
            ":env:.cert='/some/roots.pem'",
            "global.index-url='https://other.example'",
            "global.extra-index-url='https://one.example\\nhttps://two.example'",
        )
    )
    source = pip_source(listing)
    assert source.roots == Path("/some/roots.pem")
    assert source.config == (
        "[global]\nindex-url = https://index.example/a%20b?c=d\n"
        "extra-index-url = https://one.example\n\thttps://two.example\n\n"
    )


def test_pip_without_a_configuration_is_told_nothing() -> None:
    source = pip_source("")
    assert (source.config, source.roots) == ("[global]\n\n", None)


def test_the_mirror_is_the_release_and_no_update_of_it() -> None:
    index = "\n".join(
        (
            "http://a.example/debian\tbookworm-security\tmain",
            "http://a.example/debian\tbookworm\tcontrib",
            "http://b.example/debian\tbookworm\tmain",
        )
    )
    assert choose_mirror(index) == Mirror(address="http://b.example/debian", release="bookworm")


def test_no_mirror_says_what_to_do() -> None:
    with pytest.raises(ToolchainError, match=r"run apt-get update first$"):
        choose_mirror("")


def test_missing_programs_are_named_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ToolchainError, match=r"^missing: no-such-a, no-such-b; install them"):
        need(("no-such-a", "no-such-b"))


def test_an_unknown_target_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", "gatway"]) == 1
    told = capsys.readouterr().err
    assert told == f"images: unknown target gatway; there are {', '.join(TARGETS)}\n"


def test_one_that_can_not_be_built_keeps_no_other_back(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def built(_: object, target: str, **__: str) -> str:
        if target == "etcd":
            raise ToolchainError("go is missing")
        return target

    monkeypatch.setattr(images_main, "build", built)
    monkeypatch.setattr(images_main, "need", lambda _: None)
    assert main(["build"]) == 1
    told = capsys.readouterr().err.splitlines()
    assert told == [
        *(f"images: {one}: {one}" for one in TARGETS if one != "etcd"),
        "images: etcd: go is missing",
    ]


def test_an_image_says_how_it_is_run() -> None:
    inspected = {
        "OCIv1": {
            "config": {
                "User": "10001:10001",
                "Env": ["PATH=/bin", "A=b=c"],
                "Entrypoint": ["python"],
                "ExposedPorts": {"9093/tcp": {}, "9092/tcp": {}},
            }
        }
    }
    config = parse_config(json.dumps(inspected))
    assert config == ImageConfig(
        user="10001:10001",
        env={"PATH": "/bin", "A": "b=c"},
        entrypoint=("python",),
        command=(),
        labels={},
        ports=("9092/tcp", "9093/tcp"),
    )


def test_what_an_image_says_about_itself_is_judged(tmp_path: Path) -> None:
    labels = {f"org.opencontainers.image.{label}": "x" for label in LABELS}
    good = ImageConfig(user="10001:10001", env={}, entrypoint=(), command=(), labels=labels, ports=PORTS)
    assert wrong_in_config(Image(name="a", config=good, root=tmp_path)) == []
    bad = ImageConfig(user="", env={}, entrypoint=(), command=(), labels={}, ports=())
    assert len(wrong_in_config(Image(name="a", config=bad, root=tmp_path))) == 2 + len(LABELS)


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        ({"uid": 0}, "it runs as 0:10001"),
        ({"groups": [0]}, "with groups [0]"),
        ({"capabilities": 32}, "it has capabilities 20"),
        ({"read_only": False}, "its root file system is not read-only"),
        ({"writable": ["/", "/tmp", "/data"]}, "it can write to ['/', '/tmp', '/data']"),
        ({"writable": ["/data"]}, "it can write to ['/data']"),
        ({"modules": ["pip"]}, "it can import pip"),
        ({"programs": ["gcc", "ld"]}, "it has gcc, ld"),
    ],
)
def test_what_must_not_be_inside_is_told(seen: Mapping[str, Any], told: str) -> None:
    assert wrong_inside(GOOD) == []
    (wrong,) = wrong_inside({**GOOD, **seen})
    assert told in wrong


def test_files_that_others_may_change_or_that_lack_bytecode_are_told(tmp_path: Path) -> None:
    folder = tmp_path / "opt" / "kafscale" / "libs"
    folder.mkdir(parents=True)
    (folder / "a.py").write_text("")
    (folder / "a.py").chmod(0o666)
    (folder / "grpc_tools").mkdir()
    wrong = wrong_on_disk(tmp_path)
    assert "/opt/kafscale/libs/a.py may be changed by others than root" in wrong
    assert "/opt/kafscale/libs/a.py has no bytecode" in wrong
    assert "/opt/kafscale/libs/grpc_tools has no place in an image" in wrong


def test_a_file_with_two_names_is_counted_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(1000))
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    (tmp_path / "c").symlink_to("a")
    assert size_bytes(tmp_path) == 1001
