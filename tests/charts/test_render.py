"""What the charts render: names of the plan, pods that are closed in, settings that each process takes."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from libs.model.limits import MIB
from services.gateway.config import GatewaySettings
from services.partition_owner.config import OwnerSettings
from tests.load.memory import gateway_bytes_max, metadata_bytes_max, owner_bytes_max
from tests.support.charts import CHART, RELEASE, VALUES, Helm, Object, Rendered, values_files
from tools.chart_schema import SECTIONS, SERVICES, files

ALL = [pytest.param(path, id=f"{path.parent.name}-{path.stem}") for path in values_files()]
KAFKA, ADMIN, RPC = ("kafka", 9092), ("admin", 9093), ("rpc", 9094)
DIGEST, OTHER_DIGEST = (f"sha256:{digit * 64}" for digit in "12")
COMPONENTS = ("gateway", "partition-owner", "metadata")


@pytest.fixture(params=ALL)
def rendered(request: pytest.FixtureRequest, helm: Helm) -> Rendered:
    return helm.render("--values", str(request.param))


def component(workload: Object) -> str:
    return str(workload["spec"]["selector"]["matchLabels"]["app.kubernetes.io/component"])


def pod(workload: Object) -> Any:
    return workload["spec"]["template"]["spec"]


def template_of(rendered: Rendered, name: str) -> Any:
    return rendered.one("StatefulSet", name)["spec"]["template"]


@pytest.mark.parametrize("path", ALL)
def test_lint(path: Path, helm: Helm) -> None:
    done = helm.run("lint", "--strict", str(CHART), "--values", str(path))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_default_has_the_names_of_the_plan(helm: Helm) -> None:
    expected = {
        ("Service", "events-broker"),
        ("ConfigMap", "events-config"),
        ("ConfigMap", "events-dashboard"),
        ("Deployment", "kafscale-operator"),
    }
    for kind in ("StatefulSet", "Service", "ServiceAccount", "PodDisruptionBudget", "NetworkPolicy"):
        expected |= {(kind, f"events-{component}") for component in COMPONENTS}
    for kind in ("ServiceAccount", "PodDisruptionBudget", "NetworkPolicy"):
        expected.add((kind, "kafscale-operator"))
    for name in ("kafscale-operator-leader", "kafscale-operator"):
        scope = "" if name.endswith("leader") else "Cluster"
        expected |= {(f"{scope}Role", name), (f"{scope}RoleBinding", name)}
    tests = {("ConfigMap", "events-test"), ("Pod", "events-test")}
    assert helm.render_file("default").names() == expected | tests


@pytest.mark.parametrize(
    ("values", "component"),
    [
        ("gateway-alone", "gateway"),
        ("partition-owner-alone", "partition-owner"),
        ("metadata-alone", "metadata"),
    ],
)
def test_each_service_alone(values: str, component: str, helm: Helm) -> None:
    (workload,) = helm.render_file(values).workloads()
    assert workload["metadata"]["name"] == f"{RELEASE}-{component}"


def test_the_operator_alone(helm: Helm) -> None:
    (workload,) = helm.render_file("operator-only").workloads()
    assert (workload["kind"], workload["metadata"]["name"]) == ("Deployment", "kafscale-operator")
    assert workload["spec"]["replicas"] == 2


@pytest.mark.parametrize("service", SERVICES)
def test_a_subchart_without_the_umbrella(service: str, helm: Helm, tmp_path: Path) -> None:
    """`helm dependency build` gives it what it shares with the others; it makes its own settings."""
    chart = shutil.copytree(CHART, tmp_path / "kafscale") / "charts" / service
    done = helm.run("dependency", "build", str(chart))
    assert done.returncode == 0, done.stderr
    alone = helm.render("--values", str(VALUES / "default.yaml"), chart=chart)
    assert [component(workload) for workload in alone.workloads()] == [service]
    assert ("ConfigMap", f"{RELEASE}-config") in alone.names()


def test_each_process_takes_its_settings(rendered: Rendered) -> None:
    """A process refuses a KAFSCALE_* that it does not know: so each is asked."""
    for workload in rendered.workloads():
        settings = SERVICES[component(workload)]
        loaded = settings.load(argv=[], environ=rendered.environment(workload))
        assert loaded.instance == f"{workload['metadata']['name']}-0"
        assert loaded.bind_host == "0.0.0.0"
        grace = pod(workload)["terminationGracePeriodSeconds"]
        assert loaded.drain_seconds + 15 <= grace <= loaded.drain_seconds + 16


def test_pods_are_closed_in(rendered: Rendered) -> None:
    pods = [pod(workload) for workload in rendered.workloads()]
    for spec in [*pods, *(each["spec"] for each in rendered.of("Pod"))]:
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == 10001
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["enableServiceLinks"] is False
        (container,) = spec["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]
        assert spec["automountServiceAccountToken"] is (container["name"] == "operator")


def test_a_gateway_goes_on_accepting_until_others_have_heard_that_it_leaves(rendered: Rendered) -> None:
    for workload in rendered.workloads():
        container = pod(workload)["containers"][0]
        hook = {"preStop": {"exec": {"command": ["sleep", "3"]}}}
        assert container.get("lifecycle") == (hook if container["name"] == "gateway" else None)


def test_probes_and_ports(rendered: Rendered) -> None:
    ports = {
        "gateway": {KAFKA, ADMIN},
        "partition-owner": {RPC, ADMIN},
        "metadata": {RPC, ADMIN},
        "operator": {ADMIN},
    }
    for workload in rendered.workloads():
        container = pod(workload)["containers"][0]
        probes = {name: container[f"{name}Probe"]["httpGet"] for name in ("liveness", "readiness", "startup")}
        assert probes == {
            "liveness": {"path": "/healthz", "port": "admin"},
            "readiness": {"path": "/readyz", "port": "admin"},
            "startup": {"path": "/readyz", "port": "admin"},
        }
        served = {(port["name"], port["containerPort"]) for port in container["ports"]}
        assert served == ports[component(workload)]
        module = component(workload).replace("-", "_")
        assert container["command"] == ["python", "-m", f"services.{module}"]
        assert container["volumeMounts"][0] == {"name": "tmp", "mountPath": "/tmp"}


def test_selectors_are_stable_and_select(rendered: Rendered) -> None:
    """They can't be changed once there, so they have no version in them; and labels of pods include them."""
    name = "orders" if ("StatefulSet", "orders-gateway") in rendered.names() else RELEASE
    for workload in rendered.workloads():
        selector = workload["spec"]["selector"]["matchLabels"]
        assert selector == {
            "app.kubernetes.io/name": "kafscale",
            "app.kubernetes.io/instance": name,
            "app.kubernetes.io/component": component(workload),
        }
        labels = workload["spec"]["template"]["metadata"]["labels"]
        assert selector.items() <= labels.items()
    for each in rendered:
        if not each["kind"].startswith("Pod") or "spec" in each:
            assert each["metadata"]["labels"]["app.kubernetes.io/part-of"] == "kafscale"
            assert each["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "Helm"


def test_replicas_are_left_to_an_autoscaler(rendered: Rendered) -> None:
    scaled = {each["spec"]["scaleTargetRef"]["name"] for each in rendered.of("HorizontalPodAutoscaler")}
    for workload in rendered.workloads():
        assert ("replicas" in workload["spec"]) is (workload["metadata"]["name"] not in scaled)


def test_what_autoscalers_look_at(helm: Helm) -> None:
    rendered = helm.render_file("autoscaling")
    seen: dict[str, list[str]] = {}
    for each in rendered.of("HorizontalPodAutoscaler"):
        seen[each["metadata"]["name"]] = [
            metric["resource"]["name"] if metric["type"] == "Resource" else metric["pods"]["metric"]["name"]
            for metric in each["spec"]["metrics"]
        ]
    assert seen == {
        "events-gateway": ["cpu", "memory", "kafscale_active_connections"],
        "events-partition-owner": ["cpu", "memory"],
        "events-metadata": ["cpu", "memory"],
    }


def test_a_changed_setting_rolls_the_pods(helm: Helm) -> None:
    default = ("--values", str(VALUES / "default.yaml"))
    checksums = [
        template_of(helm.render(*default, *more), "events-gateway")["metadata"]["annotations"][
            "checksum/config"
        ]
        for more in ((), ("--set", "gateway.replicas=5"), ("--set", "global.config.KAFSCALE_LOG_LEVEL=debug"))
    ]
    assert checksums[0] == checksums[1] != checksums[2]


@pytest.mark.parametrize(
    ("own", "image"),
    [
        ({"repository": "kafscale-operator"}, "kafscale-operator:1.2"),
        ({"repository": "kafscale-operator", "tag": "1.3"}, "kafscale-operator:1.3"),
        ({"tag": "1.3"}, "kafscale:1.3"),
        ({"digest": DIGEST}, f"kafscale@{DIGEST}"),
        ({}, f"kafscale@{OTHER_DIGEST}"),
    ],
)
def test_a_service_may_have_an_image_of_its_own(own: dict[str, str], image: str, helm: Helm) -> None:
    """The operator's is not that of the clusters that it makes."""
    shared = {"tag": "1.2", "digest": OTHER_DIGEST}
    values = [f"global.image.{key}={value}" for key, value in shared.items()]
    values += [f"operator.image.{key}={value}" for key, value in own.items()]
    path = str(VALUES / "operator-only.yaml")
    rendered = helm.render("--values", path, *(part for each in values for part in ("--set-string", each)))
    workload = rendered.one("Deployment", "kafscale-operator")
    assert pod(workload)["containers"][0]["image"] == image
    assert rendered.environment(workload)["KAFSCALE_OPERATOR_IMAGE"] == f"kafscale@{OTHER_DIGEST}"


def test_numbers_are_written_out(helm: Helm) -> None:
    """YAML's large numbers are floats in Helm: 5.36870912e+08 would be no setting."""
    rendered = helm.render_file("everything")
    environment = rendered.environment(rendered.one("StatefulSet", "orders-partition-owner"))
    assert environment["KAFSCALE_SEGMENT_BYTES_MAX"] == "536870912"
    assert environment["KAFSCALE_UNFLUSHED_BYTES_MAX"] == "268435456"
    assert environment["KAFSCALE_COLLECTION_ENABLED"] == "false"
    assert environment["KAFSCALE_FLUSH_PUTS_PER_SECOND"] == "2.5"


def test_gateways_are_told_where_clients_reach_them(helm: Helm) -> None:
    rendered = helm.render_file("default")
    environment = rendered.environment(rendered.one("StatefulSet", "events-gateway"))
    assert environment["KAFSCALE_ADVERTISED_HOST"] == "events-broker.kafka.svc"
    assert environment["KAFSCALE_METADATA_ADDRESSES"] == "events-metadata:9094"
    rendered = helm.render(
        "--values", str(VALUES / "default.yaml"), "--set", "gateway.listeners.advertisedMode=instance"
    )
    environment = rendered.environment(rendered.one("StatefulSet", "events-gateway"))
    assert environment["KAFSCALE_ADVERTISED_HOST"] == "events-gateway-0.events-gateway.kafka.svc"


def test_secrets_stay_where_they_are(helm: Helm) -> None:
    """Named Secrets are referred to; given keys are in one Secret and nowhere else."""
    assert not helm.render_file("minimal").of("Secret")
    everything = helm.render_file("everything")
    (secret,) = everything.of("Secret")
    assert secret["metadata"]["name"] == "orders-credentials"
    others = yaml.safe_dump([each for each in everything if each is not secret])
    for value in ("AKIAEXAMPLE", "not-a-secret", "not-a-secret-either"):
        assert value in secret["stringData"].values()
        assert value not in others


def test_limits_hold_the_bounds_that_are_set(helm: Helm) -> None:
    """docs/reliability.md: what a process may take. A smaller limit would have it killed under load."""
    rendered = helm.render_file("default")

    def limit(name: str) -> int:
        text = template_of(rendered, f"events-{name}")["spec"]["containers"][0]["resources"]["limits"][
            "memory"
        ]
        return int(text.removesuffix("Mi")) * MIB if text.endswith("Mi") else int(text[:-2]) * 1024 * MIB

    def environment(name: str) -> dict[str, str]:
        return rendered.environment(rendered.one("StatefulSet", f"events-{name}"))

    gateway = GatewaySettings.load(argv=[], environ=environment("gateway"))
    owner = OwnerSettings.load(argv=[], environ=environment("partition-owner"))
    assert gateway_bytes_max(gateway, connections=gateway.connections_max) <= limit("gateway")
    assert owner_bytes_max(owner) <= limit("partition-owner")
    assert metadata_bytes_max() <= limit("metadata")


def test_a_subchart_has_the_umbrella_s_defaults() -> None:
    umbrella = yaml.safe_load((CHART / "values.yaml").read_text())
    for service, key in SECTIONS.items():
        own = yaml.safe_load((CHART / "charts" / service / "values.yaml").read_text())
        assert {"enabled": True, **own} == umbrella[key]


def test_the_chart_knows_the_settings_of_the_code() -> None:
    for path, text in files().items():
        assert path.read_text() == text, "write it again: python -m tools.chart_schema"
