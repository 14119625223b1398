"""Each rule of tidy finds what it forbids in a small wrong tree, and nothing in a right one."""

from pathlib import Path

import pytest

from tools.layers import Exemption
from tools.tidy import Finding, check, main

RPC_RIM = "services/gateway/rpc.py"


def tree(root: Path, files: dict[str, str]) -> Path:
    """Writes files below `root`, modules with a docstring in front on the first line.

    A `~` is left out, so that this file can spell what no file may hold.
    """
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        told = text.replace("~", "")
        path.write_text(f'"""Doc."""; {told}' if path.suffix == ".py" else told)
    return root


def findings(root: Path, files: dict[str, str]) -> list[Finding]:
    return check(tree(root, files), exemptions=())


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("libs/model/ids.py", "from collections.abc import Callable; from uuid import UUID"),
        ("libs/records/batch.py", "from libs.model.errors import Invalid; from libs.records import layout"),
        ("libs/objectstore/s3.py", "import boto3; from botocore.config import Config"),
        ("libs/objectstore/directory.py", "from libs.concurrency.threads import Threads; import trio"),
        ("libs/concurrency/rand.py", "import random; random.Random(1); import uuid; uuid.uuid4()"),
        ("libs/concurrency/clock.py", "import time; time.time()"),
        ("libs/clients/owner.py", "from proto.owner import owner_pb2; from grpclib.client import Channel"),
        ("services/gateway/codec.py", "from kio.schema import types"),
        ("services/gateway/a.py", "from services.gateway.codec import x; from libs.clients import view"),
        ("services/metadata/kv/etcd.py", "from proto.etcd import etcd_pb2"),
        ("services/metadata/kv/sqlite.py", "import sqlite3"),
        ("services/metadata/groups/stored.py", "import proto.metadata.metadata_pb2 as m"),
        ("services/metadata/rpc_groups.py", "from proto.metadata_api import metadata_api_pb2"),
        ("libs/chassis/broker_control.py", "from proto.control import broker_pb2"),
        ("services/standalone/main.py", "from services.gateway import service; import services.metadata"),
        ("services/gateway/timer.py", "import trio; trio.current_time(); x.random(); time = 3; time.sleep"),
        ("tools/x.py", "import time, boto3; from services.gateway import main; time.sleep(1)"),
        ("docs/a.md", "served at https://example.org/work and in ${X}/home/a; TO~DO(#12) tell more"),
    ],
)
def test_what_is_allowed(tmp_path: Path, path: str, code: str) -> None:
    assert findings(tmp_path, {path: code}) == []


@pytest.mark.parametrize(
    ("path", "code", "rule", "words"),
    [
        # layers
        (
            "libs/model/a.py",
            "import libs.records.batch",
            "layer",
            "libs/model imports libs/records: imports go down",
        ),
        (
            "libs/records/a.py",
            "from libs.segments import keys",
            "layer",
            "libs/records imports libs/segments",
        ),
        ("libs/rpc/a.py", "from libs import objectstore", "layer", "libs/rpc imports libs/objectstore"),
        (
            "libs/rpc/a.py",
            "x = 1\ndef f():\n    from libs.clients import view",
            "layer",
            "libs/rpc imports libs/clients",
        ),
        ("libs/clients/a.py", "from services.gateway import x", "layer", "move what is shared into a lib"),
        ("services/gateway/a.py", "import services.metadata.kv.port", "layer", "talk through libs/clients"),
        ("services/gateway/a.py", "from ..metadata import kv", "layer", "talk through libs/clients"),
        ("services/operator/a.py", "from services.standalone import x", "layer", "services never import"),
        ("services/gateway/a.py", "from tools.servers import Etcd", "layer", "what runs must not need"),
        ("libs/rpc/a.py", "from libs.extras import y", "layer", "no such layer"),
        ("libs/extras/a.py", "", "layer", "libs/extras has no layer"),
        ("libs/segments/a.py", "import trio", "pure", "libs/segments imports trio"),
        ("libs/model/a.py", "from google.protobuf import message", "pure", "bytes in, values out"),
        # doors
        ("services/partition_owner/a.py", "import boto3", "door", "use the port in libs/objectstore"),
        ("libs/objectstore/a.py", "from botocore import errorfactory", "door", "libs/objectstore/s3.py"),
        ("services/gateway/a.py", "import h2.connection", "door", "use libs/rpc"),
        ("libs/clients/a.py", "import hpack", "door", "use libs/rpc"),
        (
            "services/gateway/a.py",
            "from grpclib.server import Server",
            "door",
            "answer in the service's rpc.py",
        ),
        ("libs/rpc/a.py", "from opentelemetry import trace", "door", "use libs/telemetry"),
        ("services/partition_owner/a.py", "import kio", "door", "speak libs/model outside the gateway"),
        ("libs/rpc/a.py", "from proto.owner import owner_pb2", "door", "translate there"),
        ("services/gateway/a.py", "import proto.metadata.metadata_pb2 as m", "door", "its stored values"),
        (
            "services/metadata/a.py",
            "from proto.metadata_api import metadata_api_pb2",
            "door",
            "translate there",
        ),
        (
            "services/metadata/rpc.py",
            "from proto.etcd import etcd_pb2",
            "door",
            "services/metadata/kv/etcd.py",
        ),
        ("services/gateway/a.py", "import sqlite3", "door", "services/metadata/kv"),
        ("services/operator/a.py", "import httpx", "door", "services/operator/cluster.py"),
        (RPC_RIM, "import asyncio", "door", "use trio"),
        # handed in
        ("services/gateway/a.py", "import time as t\nx = t.time()", "handed-in", "time.time is handed in"),
        ("libs/rpc/a.py", "from time import sleep", "handed-in", "await trio.sleep"),
        ("libs/rpc/a.py", "import datetime\ndatetime.datetime.now()", "handed-in", "take a Clock"),
        ("libs/rpc/a.py", "from datetime import datetime\ndatetime.now()", "handed-in", "take a Clock"),
        ("libs/rpc/a.py", "import random", "handed-in", "take a Rand"),
        ("libs/rpc/a.py", "from uuid import uuid4", "handed-in", "take a Rand"),
        ("libs/rpc/a.py", "import uuid\nuuid.uuid4()", "handed-in", "take a Rand"),
        ("libs/rpc/a.py", "import os\nos.urandom(4)", "handed-in", "take a Rand"),
        ("libs/rpc/a.py", "from threading import Lock", "handed-in", "take the Threads"),
        ("libs/rpc/a.py", "import trio\nawait_ = trio.to_thread.run_sync", "handed-in", "take the Threads"),
        ("libs/rpc/a.py", "from trio import to_thread", "handed-in", "take the Threads"),
        (
            "libs/rpc/a.py",
            "import importlib\nimportlib.import_module('boto3')",
            "handed-in",
            "write the import",
        ),
        # what a module and a commit may be
        ("libs/__init__.py", "", "namespace", "remove the file"),
        ("tests/unit/a.py", "x = 1\n" * 501, "size", "501 lines hide two ideas"),
        ("tests/a.py", "x = (", "syntax", "never closed"),
        ("libs/rpc/a.py", "# TO~DO: later", "open-end", "name the issue"),
        ("Makefile", "x: ## FIX~ME", "open-end", "name the issue"),
        ("docs/a.md", "see /ro~ot/x", "machine-path", "find it by $HOME"),
        ("docs/a.md", "`/tmp/scr~atch`", "machine-path", "find it by $HOME"),
        (
            "pants.toml",
            "url = 'https://pypi.~org/simple'",
            "registry-host",
            "the machine's own configuration",
        ),
    ],
)
def test_what_is_refused(tmp_path: Path, path: str, code: str, rule: str, words: str) -> None:
    found = [one for one in findings(tmp_path, {path: code}) if one.rule == rule]
    assert len(found) == 1
    assert found[0].path == path
    assert words in found[0].message


def test_a_module_says_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "a.py").write_text("x = 1\n")
    assert [one.rule for one in check(tmp_path, exemptions=())] == ["docstring"]


def test_a_finding_names_its_line(tmp_path: Path) -> None:
    found = findings(tmp_path, {"libs/rpc/a.py": "x = 1\n\nimport random\n"})
    assert [str(one).split(":")[:3] for one in found] == [["libs/rpc/a.py", "3", " handed-in"]]


def test_generated_code_and_bytes_are_passed_over(tmp_path: Path) -> None:
    root = tree(
        tmp_path, {"proto/owner/owner_pb2.py": "import asyncio", "proto/owner/owner_grpc.py": "import abc"}
    )
    (root / "tests").mkdir()
    (root / "tests" / "golden.bin").write_bytes(b"\xff\xfe/work/x")
    assert check(root, exemptions=()) == []


def test_an_exemption_covers_one_rule_in_one_file(tmp_path: Path) -> None:
    exempt = Exemption(rule="handed-in", path="libs/rpc/a.py", reason="tests exemptions")
    root = tree(tmp_path, {"libs/rpc/a.py": "import random, boto3", "libs/rpc/b.py": "import random"})
    assert [(one.path, one.rule) for one in check(root, exemptions=(exempt,))] == [
        ("libs/rpc/a.py", "door"),
        ("libs/rpc/b.py", "handed-in"),
    ]


def test_an_exemption_without_need_is_a_finding(tmp_path: Path) -> None:
    exempt = Exemption(rule="handed-in", path="libs/rpc/a.py", reason="tests exemptions")
    root = tree(tmp_path, {"libs/rpc/a.py": "x = 1"})
    assert [one.rule for one in check(root, exemptions=(exempt,))] == ["exemption"]


def test_the_exit_code_says_whether_all_is_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tools.tidy.check.__defaults__", ((),))
    assert main([str(tree(tmp_path, {"libs/rpc/a.py": "x = 1"}))]) == 0
    assert capsys.readouterr().out == "tidy: all rules kept\n"
    assert main([str(tree(tmp_path, {"libs/rpc/a.py": "import random"}))]) == 1
    assert capsys.readouterr().out.endswith("tidy: 1 findings\n")
