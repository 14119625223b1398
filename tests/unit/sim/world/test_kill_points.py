"""Sites of kill points: which awaits there are, and which one a task is at."""

from tests.sim.world.kill_points import TARGETS_PER_SEED, sites, targets_of


def test_the_sites_are_the_awaits_of_the_modules_and_each_is_there_once() -> None:
    known = sites()
    assert len(known) == len(set(known))
    files = {site.file for site in known}
    assert {"flusher.py", "sealing.py", "opening.py", "handover.py"} <= files
    assert any(file.startswith("compaction/") for file in files)
    assert any(file.startswith("collection/") for file in files)


def test_the_seeds_in_turn_aim_at_every_site() -> None:
    seeds = -(-len(sites()) // TARGETS_PER_SEED)
    aimed = {site for seed in range(seeds) for site in targets_of(seed)}
    assert aimed == set(sites())
