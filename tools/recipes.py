"""How each real part that checks, tests and benchmarks use is built or fetched.

Owns: versions, sources, prerequisites and build steps of MinIO, grpcurl, etcd, Helm, Kubernetes, promtool,
the Prometheus operator's CRDs, Apache Kafka, kcat, Pants.
Does not own: where the results are kept, locks and progress (toolchain.py).
Rules: 1 every version is pinned here or in `tools/parts/`; 2 a recipe writes only below the folder it is
given; 3 package sources are whatever the machine configures for go, mvn and apt-get: no host is named.
"""

import os
import re
import shutil
import stat
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

PARTS = Path(__file__).parent / "parts"

MINIO_VERSION = "v0.0.0-20260212201848-7aac2a2c5b7c"
GRPCURL_VERSION = "v1.9.4"
ETCD_VERSION = "3.6.16"
HELM_VERSION = "v3.22.0"
KAFKA_VERSION = "4.3.1"
PANTS_VERSION = "2.17.1"
KUBERNETES_VERSION = "1.34.2"
PROMETHEUS_VERSION = "3.9.1"
PROMETHEUS_OPERATOR_VERSION = "0.92.1"

KUBERNETES_PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
PROMETHEUS_KINDS = ("servicemonitors", "prometheusrules")
GO_VERSION_MIN = (1, 26)
JAVA_VERSION_MIN = 17


class ToolchainError(Exception):
    """A part can't be had; the text says what is missing and what to do, in one line."""


class Run(Protocol):
    """Runs one build step with its output in a log; handed to recipes so that they own no process."""

    def __call__(self, *command: str, cwd: Path, **env: str) -> None:
        """Runs `command` in `cwd` with `env` on top of the environment; ToolchainError when it fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One part: what it is, what it needs and how it is made.

    `build(run, folder)` fills `folder`; `needs` and `needs_to_run` raise ToolchainError for what is missing
    on the machine to make it and to run it; `inputs` are the files whose change makes a new build necessary.
    An `optional` part is made only when it is asked for by name.
    """

    name: str
    version: str
    about: str
    programs: tuple[str, ...]
    needs: Callable[[], None]
    build: Callable[[Run, Path], None]
    needs_to_run: Callable[[], None] = lambda: None
    optional: bool = False
    inputs: tuple[Path, ...] = ()


def _version_of(command: Sequence[str], pattern: str) -> tuple[int, ...] | None:
    """The numbers that `pattern` finds in what `command` prints, or None when it does not run."""
    if shutil.which(command[0]) is None:
        return None
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(pattern, done.stdout + done.stderr)
    return tuple(int(part) for part in found.groups()) if found and done.returncode == 0 else None


def need_go() -> None:
    """Raises ToolchainError unless a Go that is new enough runs."""
    found = _version_of(("go", "version"), r"go(\d+)\.(\d+)")
    if found is None:
        raise ToolchainError("go is missing: install Go 1.26 or newer and put it on PATH")
    if found < GO_VERSION_MIN:
        raise ToolchainError(f"go {found[0]}.{found[1]} is too old: install Go 1.26 or newer")


def need_java() -> None:
    """Raises ToolchainError unless a Java that is new enough runs."""
    found = _version_of(("java", "-version"), r'version "(\d+)')
    if found is None:
        raise ToolchainError("java is missing: install a JDK 17 or newer and put it on PATH")
    if found[0] < JAVA_VERSION_MIN:
        raise ToolchainError(f"java {found[0]} is too old: install a JDK 17 or newer")


def need_maven() -> None:
    """Raises ToolchainError unless Java and Maven run."""
    need_java()
    if _version_of(("mvn", "--version"), r"(\d+)\.(\d+)") is None:
        raise ToolchainError("mvn is missing: install Maven 3.8 or newer and put it on PATH")


def need_kcat() -> None:
    """Raises ToolchainError unless kcat is on PATH or Debian's tools can fetch it."""
    if shutil.which("kcat") is None and not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise ToolchainError("kcat is missing: install kcat and put it on PATH (no apt-get here to fetch it)")


def python39() -> str:
    """A Python 3.9 that runs, on PATH or among pyenv's; ToolchainError without one."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    installed = (str(path) for path in sorted(pyenv.glob("versions/3.9*/bin/python3.9"), reverse=True))
    for candidate in ("python3.9", *installed):
        if _version_of((candidate, "-c", "import sys, pip; print(sys.version)"), r"^(3)\.(9)\."):
            return candidate
    raise ToolchainError("python3.9 is missing, which Pants 2.17 needs: install it and put it on PATH")


def need_python39() -> None:
    """Raises ToolchainError unless a Python 3.9 runs."""
    python39()


def _go_install(package: str, run: Run, folder: Path) -> None:
    run("go", "install", "-trimpath", package, cwd=folder, GOBIN=str(folder), CGO_ENABLED="0")


def _build_minio(run: Run, folder: Path) -> None:
    _go_install(f"github.com/minio/minio@{MINIO_VERSION}", run, folder)


def _build_grpcurl(run: Run, folder: Path) -> None:
    _go_install(f"github.com/fullstorydev/grpcurl/cmd/grpcurl@{GRPCURL_VERSION}", run, folder)


def _build_helm(run: Run, folder: Path) -> None:
    _go_install(f"helm.sh/helm/v3/cmd/helm@{HELM_VERSION}", run, folder)


def _build_etcd(run: Run, folder: Path) -> None:
    """The server has no main that can be installed from outside its repository: ours is ten lines."""
    source = PARTS / "etcd"
    flags = ("-trimpath", "-buildvcs=false", "-mod=readonly")
    for program, package in (("etcd", "."), ("etcdctl", "go.etcd.io/etcd/etcdctl/v3")):
        run("go", "build", *flags, "-o", str(folder / program), package, cwd=source, CGO_ENABLED="0")


def _build_kubernetes(run: Run, folder: Path) -> None:
    """One module that takes all of Kubernetes' own at one version; it is meant to be built from its tree."""
    module = "k8s.io/component-base/version.gitVersion"
    flags = (
        "-trimpath",
        "-buildvcs=false",
        "-mod=readonly",
        f"-ldflags=-s -w -X {module}=v{KUBERNETES_VERSION}",
    )
    for program in KUBERNETES_PROGRAMS:
        run(
            *("go", "build", *flags, "-o", str(folder / program), f"k8s.io/kubernetes/cmd/{program}"),
            cwd=PARTS / "kubernetes",
            CGO_ENABLED="0",
        )


def _build_promtool(run: Run, folder: Path) -> None:
    """Its module leaves versions out, which `go install` does not take from another module."""
    package = "github.com/prometheus/prometheus/cmd/promtool"
    flags = ("-trimpath", "-buildvcs=false", "-mod=readonly")
    command = ("go", "build", *flags, "-o", str(folder / "promtool"), package)
    run(*command, cwd=PARTS / "prometheus", CGO_ENABLED="0")


def _fetch_prometheus_crds(run: Run, folder: Path) -> None:
    """Those of the kinds that the chart and the operator make, from the module's files."""
    module = "github.com/prometheus-operator/prometheus-operator"
    run("go", "mod", "download", f"{module}@v{PROMETHEUS_OPERATOR_VERSION}", cwd=folder)
    cache = subprocess.run(("go", "env", "GOMODCACHE"), capture_output=True, text=True, check=True)
    files = Path(cache.stdout.strip()) / f"{module}@v{PROMETHEUS_OPERATOR_VERSION}" / "example"
    for kind in PROMETHEUS_KINDS:
        name = f"monitoring.coreos.com_{kind}.yaml"
        shutil.copyfile(files / "prometheus-operator-crd" / name, folder / f"{kind}.yaml")


def _build_kafka(run: Run, folder: Path) -> None:
    shutil.copy(PARTS / "kafka" / "pom.xml", folder / "pom.xml")
    shutil.copy(PARTS / "kafka" / "log4j2.properties", folder / "log4j2.properties")
    goal = ("dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory=jars")
    run("mvn", "--batch-mode", "--no-transfer-progress", *goal, cwd=folder)


def _build_kcat(run: Run, folder: Path) -> None:
    """Debian's kcat and the libraries it lacks here, unpacked without installing: no root needed."""
    program = folder / "kcat"
    if installed := shutil.which("kcat"):
        program.symlink_to(installed)
        return
    apt = _private_apt(folder)
    run(*apt, "update", cwd=folder)
    planned = subprocess.run(
        (*apt, "--simulate", "--no-install-recommends", "install", "kcat"),
        capture_output=True,
        text=True,
        check=False,
    )
    packages = re.findall(r"^Inst (\S+)", planned.stdout, re.MULTILINE)
    if "kcat" not in packages:
        raise ToolchainError("kcat is missing: apt-get has no kcat here; install kcat and put it on PATH")
    run(*apt, "download", *packages, cwd=folder)
    for package in sorted(folder.glob("*.deb")):
        run("dpkg-deb", "--extract", package.name, "unpacked", cwd=folder)
        package.unlink()
    shutil.rmtree(folder / "apt")
    program.write_text(
        '#!/bin/sh\nhere=$(dirname "$0")/unpacked/usr\n'
        'LD_LIBRARY_PATH=$(echo "$here"/lib/*-linux-gnu*)${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}\n'
        'export LD_LIBRARY_PATH\nexec "$here/bin/kcat" "$@"\n'
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)


def _build_pants(run: Run, folder: Path) -> None:
    """A plain folder of packages: unlike a virtual environment it may be moved into place."""
    pip = ("-m", "pip", "install", "--disable-pip-version-check", "--target", "packages")
    run(python39(), *pip, f"pantsbuild.pants=={PANTS_VERSION}", cwd=folder)


def _private_apt(folder: Path) -> tuple[str, ...]:
    """apt-get with lists and caches of its own, so that it neither needs nor changes the machine's."""
    for part in ("lists/partial", "archives/partial"):
        (folder / "apt" / part).mkdir(parents=True)
    options = {
        "Dir::State::Lists": folder / "apt" / "lists",
        "Dir::Cache": folder / "apt",
        "Dir::Cache::Archives": folder / "apt" / "archives",
        "Debug::NoLocking": "true",
        "APT::Sandbox::User": os.environ.get("USER", "root"),
    }
    return ("apt-get", "--yes", "--quiet", *(f"-o{name}={value}" for name, value in options.items()))


RECIPES: tuple[Recipe, ...] = (
    Recipe(
        name="etcd",
        version=ETCD_VERSION,
        about="the metadata store (server and etcdctl), about 2 minutes the first time",
        programs=("etcd", "etcdctl"),
        needs=need_go,
        build=_build_etcd,
        inputs=tuple(PARTS / "etcd" / name for name in ("go.mod", "go.sum", "main.go")),
    ),
    Recipe(
        name="minio",
        version=MINIO_VERSION,
        about="an object store, about 6 minutes the first time",
        programs=("minio",),
        needs=need_go,
        build=_build_minio,
    ),
    Recipe(
        name="grpcurl",
        version=GRPCURL_VERSION,
        about="a gRPC client, about 1 minute the first time",
        programs=("grpcurl",),
        needs=need_go,
        build=_build_grpcurl,
    ),
    Recipe(
        name="helm",
        version=HELM_VERSION,
        about="renders and checks the charts, about 5 minutes the first time",
        programs=("helm",),
        needs=need_go,
        build=_build_helm,
    ),
    Recipe(
        name="kubernetes",
        version=KUBERNETES_VERSION,
        about="API server, controllers, scheduler and kubectl, about 15 minutes the first time",
        programs=KUBERNETES_PROGRAMS,
        needs=need_go,
        build=_build_kubernetes,
        optional=True,
        inputs=tuple(PARTS / "kubernetes" / name for name in ("go.mod", "go.sum")),
    ),
    Recipe(
        name="promtool",
        version=PROMETHEUS_VERSION,
        about="Prometheus' own check of alert rules and queries, about 8 minutes the first time",
        programs=("promtool",),
        needs=need_go,
        build=_build_promtool,
        inputs=tuple(PARTS / "prometheus" / name for name in ("go.mod", "go.sum")),
    ),
    Recipe(
        name="prometheus-operator-crds",
        version=PROMETHEUS_OPERATOR_VERSION,
        about="the kinds ServiceMonitor and PrometheusRule",
        programs=(),
        needs=need_go,
        build=_fetch_prometheus_crds,
        optional=True,
    ),
    Recipe(
        name="kafka",
        version=KAFKA_VERSION,
        about="Apache Kafka's broker, tools and clients as jars",
        programs=(),
        needs=need_maven,
        needs_to_run=need_java,
        build=_build_kafka,
        inputs=tuple(PARTS / "kafka" / name for name in ("pom.xml", "log4j2.properties")),
    ),
    Recipe(
        name="kcat",
        version="any",
        about="librdkafka's command line client",
        programs=("kcat",),
        needs=need_kcat,
        build=_build_kcat,
    ),
    Recipe(
        name="pants",
        version=PANTS_VERSION,
        about="the build system that holds the BUILD files' rules",
        programs=(),
        needs=need_python39,
        needs_to_run=need_python39,
        build=_build_pants,
        optional=True,
    ),
)
