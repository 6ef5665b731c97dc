"""A small version of the attack by damages: each kind of damage once, on one method's run."""

import random

import pytest

from tests.attacks import FAULTS, damage
from tests.attacks.commands import COMMANDS


@pytest.fixture(scope="module")
def states(tmp_path_factory):
    return list(damage.states_of("poir", COMMANDS["poir"], tmp_path_factory.mktemp("poir")))


@pytest.mark.parametrize("kind", damage.DAMAGES)
def test_a_damage_of_what_poir_keeps_is_never_used_in_silence(kind, states, tmp_path):
    numbers = random.Random(kind)
    outcome = None
    while outcome is None:  # not every file can be damaged in every way
        state = numbers.choice(states)
        file = numbers.choice(state.kept())
        outcome = damage.attacked(state, file, kind, numbers, tmp_path / "attempt")
    assert outcome not in FAULTS
