"""One model at a time: what a run is through with is gone before it loads the next."""

import weakref

import launch
import pytest
from paper_user import guessing_llava

import harness
from harness.models import lifetime, loading

SETTINGS = {
    "pairs.limit": 16,
    "pairs.noise_step": 900,
    "pairs.chosen_temperature": 1.0,
    "pairs.equal_sentences": False,
    "pairs.max_new_tokens": 4,
    "loss.weights": "none",
    "loss.encoder": None,
    "train.batch_size": 4,
    "train.micro_batch": 4,
    "train.epochs": 1,
    "train.freeze": [],
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = launch.little_world(tmp_path_factory.mktemp("world") / "data", 40, 8)
    guessing_llava(folder / "model")
    return folder


@pytest.fixture
def loaded(monkeypatch):
    """Each load of a model, with how many modules of earlier ones were still alive."""
    refs: list[weakref.ref] = []
    found: list[tuple[str, int]] = []
    load = loading.load

    def noted(folder, role, dtype=None):
        found.append((folder.name, sum(each() is not None for each in refs)))
        model = load(folder, role, dtype)
        refs.extend(weakref.ref(each) for each in model.module.modules())
        return model

    monkeypatch.setattr(loading, "load", noted)
    return found


def run(world, folder, **more):
    return harness.run(
        method="dpo",
        tasks="pope",
        model=str(world / "model"),
        dataset=str(world / "pairs.jsonl"),
        source={"pope": str(world / "pope.jsonl")},
        set={**SETTINGS, **more},
        seeds=2,
        runs=folder / "runs",
        leaderboards=folder / "leaderboards",
    )


@pytest.mark.parametrize("lora", [None, {"r": 2}])
def test_no_module_of_an_earlier_model_is_alive_when_the_next_is_loaded(
    world, loaded, tmp_path, lora
):
    run(world, tmp_path, **({"train.lora": lora} if lora else {}))
    # The base is scored; each seed's model is trained from it, and its checkpoint then scored.
    assert [name for name, _ in loaded] == ["model", *["model", "checkpoint"] * 2]
    assert [alive for _, alive in loaded] == [0] * 5
    # Greedy and noised answers are often the same: that is noted in the run's folder too.
    (noted,) = (tmp_path / "runs").glob("dpo_pope-*/dpo-seed0/left_out.jsonl")
    assert "both answers are the same" in noted.read_text()


def test_what_is_kept_is_loaded_once_and_gone_when_released():
    made = []

    def load():
        made.append(object())
        return made[-1]

    first = lifetime.kept("judge", load)
    assert lifetime.kept("judge", load) is first
    lifetime.release()
    assert lifetime.kept("judge", load) is not first
    lifetime.release()
    assert len(made) == 2
