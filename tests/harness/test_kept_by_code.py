"""Whatever is kept stands under the code that made it and the weights of all who answered."""

from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest

from harness import entries, fitting, judging, predicting, registry
from harness.arms import Arm
from harness.code_keys import Code
from harness.judges import open_judge
from harness.models import loading
from harness.store import Store
from methods.fashionklip import search
from tasks.preference.judges import local


class CaughtError(Exception):
    """Ends a computation as soon as it has named its key."""


class Catching(Store):
    """A store that shows the key of what is looked for, and finds nothing."""

    def folder(self, kind, inputs):
        raise CaughtError(kind, super().folder(kind, inputs))


def key_of(function, *arguments):
    with pytest.raises(CaughtError) as caught:
        function(*arguments)
    return caught.value.args


class Ref(NamedTuple):
    card: str = "c"
    fingerprint: str = "f"
    name: str = "pope"


def fit_key(store):
    method = registry.load("methods", "clip")
    (store.root / "rows.jsonl").write_text('{"title": "a"}\n')
    data = str(store.root / "rows.jsonl")
    arm = Arm("clip", method(method.Config()), {}, "lab/garments-clip", data, [0])
    return key_of(fitting.fit_folder, arm, 0, store)


def prediction_key(store, task="pope", model="lab/scenes-vlm"):
    path = loading.resolve(model)
    base = SimpleNamespace(weights="w", base="b", path=path, scored_precision="fp32")
    fitted = SimpleNamespace(fitted=base, asked=None)
    loaded = registry.load("tasks", task) if isinstance(task, str) else task
    scored = SimpleNamespace(task=loaded, items=["item"], ref=Ref())
    return key_of(predicting.predict, scored, {}, fitted, store, "label", None)


def verdict_key(store):
    return key_of(judging._verdicts, open_judge("lab", {}, Path("judge")), [], store)


def engine_key(store):
    task = registry.load("tasks", "wmt")
    scored = SimpleNamespace(task=task, items=[], ref=Ref())
    config = SimpleNamespace(engine={"comet": "Unbabel/wmt22-comet-da"})
    return key_of(entries._with_engines, config, scored, [], [], store)


def vectors_key(_):
    return search._inputs(loading.resolve("lab/garments-clip"), search.Shelf([], [], [], []))


def local_judge_key(_):
    return local.LocalChat("lab/errands", 3, Path("kept"))._key([{"role": "user", "content": "a"}])


@pytest.mark.parametrize(
    ("key", "module"),
    [
        (fit_key, fitting),
        (prediction_key, predicting),
        (verdict_key, judging),
        (engine_key, entries),
        (vectors_key, search),
        (local_judge_key, local),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_key_moves_with_the_code_and_the_packages_behind_it(key, module, monkeypatch, tmp_path):
    store = Catching(tmp_path)
    seen = [key(store)]
    assert key(store) == seen[0]
    for code in (Code({"a": "1"}, {}), Code({"a": "2"}, {}), Code({"a": "2"}, {"torch": "3"})):
        monkeypatch.setattr(module, "reached", lambda _, code=code: code)
        seen.append(key(store))
    assert all(seen.count(each) == 1 for each in seen)


def test_answers_depend_on_the_weights_of_a_responder(tmp_path):
    plain = registry.load("tasks", "vicuna_eval")
    options = {**plain.card.options, "responder": str(tmp_path / "responder")}
    task = type(plain)(plain.card.model_copy(update={"options": options}))
    (tmp_path / "responder").mkdir()
    (tmp_path / "responder" / "config.json").write_text("{}")
    keys = []
    for weights in ("one", "two"):
        (tmp_path / "responder" / "model.safetensors").write_text(weights)
        keys.append(prediction_key(Catching(tmp_path), task, "lab/errands"))
    assert keys[0] != keys[1]


def test_a_served_responder_is_not_looked_for_on_this_machine():
    plain = registry.load("tasks", "vicuna_eval")
    served = {"responder": "no/such", "endpoint": "http://localhost:1/v1"}
    options = {**plain.card.options, **served}
    assert type(plain)(plain.card.model_copy(update={"options": options})).models() == []


def test_a_merged_adapter_is_kept_by_the_code_that_merges(monkeypatch, tmp_path):
    folders = []
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "lab/errands"}')
    monkeypatch.setattr(loading, "merge", lambda folder, role, out: folders.append(out))
    arm = SimpleNamespace(model=str(tmp_path))
    for code in ("1", "1", "2"):
        monkeypatch.setattr(fitting, "reached", lambda _, code=code: Code({"a": code}, {}))
        fitting._base(arm, "causal-lm", Store(tmp_path))
    assert len(set(folders)) == len(folders) == 2  # one for both runs with the same code
