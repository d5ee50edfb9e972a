"""Many days of chat; a day that fails is named by its seed, and can be run again: `make simulate SEEDS=17`."""

import os

import pytest

from simulation.world import World


def seeds() -> list[int]:
    """Return the seeds asked for: `SEEDS=17` is that one, `SEEDS=0-9999` all of these."""
    first, _, last = os.environ.get("SEEDS", "0-99").partition("-")
    return list(range(int(first), int(last or first) + 1))


@pytest.mark.parametrize("seed", seeds())
def test_day(seed: int) -> None:
    """Whatever happens: names are unique, nothing is lost, doubled or unasked, and every bound holds."""
    World(seed).run(steps=400)
