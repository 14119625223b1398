"""Wrong values are refused in words that name the value."""

import pytest

from tests.support.charts import VALUES, Helm


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("gateway.replicas=two", ["gateway", "/replicas", "want integer"]),
        ("gateway.replica=2", ["gateway", "'replica' not allowed"]),
        ("partitionOwner.autoscaling.maxReplica=9", ["partitionOwner", "/autoscaling", "'maxReplica'"]),
        ("gateways.replicas=2", ["'gateways' not allowed"]),
        ("metadata.autoscaling.minReplicas=0", ["metadata", "/autoscaling/minReplicas", "want 1"]),
        ("gateway.listeners.advertisedMode=pod", ["/listeners/advertisedMode", "'instance', 'service'"]),
        ("global.image.pullPolicy=Sometimes", ["/global/image/pullPolicy", "'IfNotPresent'"]),
        ("global.s3.endpoint=minio:9000", ["/global/s3/endpoint", "https?"]),
        ("global.s3.buckets=records", ["/global/s3", "'buckets' not allowed"]),
        ("global.etcd.endpoints={etcd:2379}", ["/global/etcd/endpoints/0", "https?"]),
        ("global.config.KAFSCALE_LOG_LEVL=info", ["/global/config", "'KAFSCALE_LOG_LEVL' not allowed"]),
        ("global.config.KAFSCALE_LOG_LEVEL=loud", ["/global/config/KAFSCALE_LOG_LEVEL", "'debug', 'info'"]),
        ("global.config.KAFSCALE_KAFKA_PORT=9192", ["/global/config", "'KAFSCALE_KAFKA_PORT' not allowed"]),
        ("gateway.config.KAFSCALE_LEASE_SECONDS=9", ["gateway", "/config", "'KAFSCALE_LEASE_SECONDS'"]),
        ("metadata.config.KAFSCALE_LEASE_SECONDS=1", ["/config/KAFSCALE_LEASE_SECONDS", "want 2"]),
        ("monitoring.rules.enabled=true", ["/monitoring", "'rules' not allowed"]),
        ("gateway.networkPolicy.peers={a}", ["gateway", "/networkPolicy/peers", "maxItems"]),
        ("operator.networkPolicy.peers={a}", ["operator", "/networkPolicy/peers", "maxItems"]),
        ("tests.topic=a b", ["/tests/topic"]),
    ],
)
def test_a_wrong_value_is_named(value: str, words: list[str], helm: Helm) -> None:
    said = helm.refusal("--values", str(VALUES / "default.yaml"), "--set", value)
    missing = [word for word in words if word not in said]
    assert not missing, said


@pytest.mark.parametrize("service", ["gateway", "operator"])
def test_an_older_releases_default_is_none(service: str, helm: Helm) -> None:
    """`helm upgrade --reuse-values` brings it along."""
    reused = f"{service}.networkPolicy.peers=[]"
    helm.render("--values", str(VALUES / "default.yaml"), "--set-json", reused)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([], "global.s3.bucket is missing"),
        (["global.s3.bucket=records"], "global.etcd.endpoints is missing"),
        (["global.s3.accessKey=me"], "global.s3.accessKey and global.s3.secretKey go together"),
        (["global.etcd.username=me"], "global.etcd.username and global.etcd.password go together"),
        (
            [
                "gateway.listeners.advertisedMode=instance",
                "gateway.listeners.advertisedHost=kafka.example.com",
            ],
            "it has to hold $(KAFSCALE_INSTANCE)",
        ),
        (
            ["gateway.autoscaling.enabled=true", "gateway.autoscaling.maxReplicas=1"],
            "gateway.autoscaling: maxReplicas is 1, below minReplicas, which is 2",
        ),
        (
            [
                "gateway.autoscaling.enabled=true",
                "gateway.autoscaling.targetCPUUtilizationPercentage=0",
                "gateway.autoscaling.targetMemoryUtilizationPercentage=0",
            ],
            "gateway.autoscaling has no target",
        ),
    ],
)
def test_what_does_not_go_together_is_told(values: list[str], words: str, helm: Helm) -> None:
    complete = (
        []
        if not values or values == ["global.s3.bucket=records"]
        else ["--values", str(VALUES / "default.yaml")]
    )
    sets = [argument for value in values for argument in ("--set", value)]
    assert words in helm.refusal(*complete, *sets)


def test_a_name_that_leaves_no_room_is_told(helm: Helm) -> None:
    name = "a-release-whose-name-is-much-too-long-for"
    done = helm.run("template", name, "charts/kafscale", "--values", str(VALUES / "default.yaml"))
    assert "set global.name, or choose a shorter release name" in done.stderr
