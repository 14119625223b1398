"""The operator's release, as tests have it."""

from tests.e2e.world import CHART, SAMPLES, World

NAMESPACE = "kafscale-system"
DRAIN_SECONDS = 10
"""60 by default: a test would wait that long to see a drain fail."""


def install_operator(world: World, *options: str) -> str:
    """Its namespace. Ready when this returns; `options` of an earlier call are forgotten."""
    world.add_namespace(NAMESPACE)
    world.helm(
        *("upgrade", "--install", "kafscale", str(CHART), "--namespace", NAMESPACE),
        *("--values", str(SAMPLES / "values-operator.yaml"), "--wait", "--timeout", "240s"),
        *("--set", f"operator.config.KAFSCALE_OPERATOR_DRAIN_SECONDS={DRAIN_SECONDS}"),
        *options,
    )
    return NAMESPACE
