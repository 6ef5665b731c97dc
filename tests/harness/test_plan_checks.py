"""Mistakes in cards and settings are found by the plan, in one line, before anything is trained."""

import json

import launch
import pytest
import yaml
from foreign import CARDS, package
from tiny_translators import tiny_word_marian

from harness import registry
from harness.configs import run_config
from harness.errors import HarnessError
from harness.plan import make_plan, scored_task
from harness.plugin_commands import list_plugins
from harness.report.show import show_text

POPE = {
    "name": "x",
    "summary": "a stranger's",
    "family": "foreign",
    "format": "tasks.multimodal.format:YesNo",
    "version": 1,
    "primary": "f1",
    "licence": "MIT",
    "cite": "nobody",
    "prompt": "{question}",
    "generation": {"max_new_tokens": 4},
    "sources": {"lab": {"dataset": "lab/scenes", "split": "pope"}},
    "models": {"lab": "lab/scenes-vlm"},
}
CHOICE = {
    **POPE,
    "format": "tasks.multimodal.format:Choice",
    "primary": "accuracy",
    "sources": {"lab": {"dataset": "lab/scenes", "split": "mmbench"}},
}
WIN = {
    **POPE,
    "format": "tasks.preference.format:WinRate",
    "primary": "win_rate",
    "prompt": "{prompt}",
    "judge": "lab",
}
TRANSLATE = {
    **POPE,
    "format": "tasks.translation.format:Translate",
    "primary": "sentence_chrf",
    "generation": {"num_beams": 2},
    "options": {"source": "en", "target": "de"},
}
ERRANDS = {
    **POPE,
    "format": "tasks.flan.format:LmEval",
    "primary": "exact_match",
    "generation": {},
    "options": {"task": "errands_sums"},
    "sources": {"lab": {"dataset": "lab/errands-sums", "split": "test"}},
}
GARMENTS = {
    **POPE,
    "format": "tasks.retrieval.format:FullRanking",
    "primary": "mean_recall",
    "generation": {},
    "sources": {"lab": {"dataset": "lab/garments", "split": "test"}},
}

WRONG = {
    "no_field": ({**POPE, "prompt": "{text}"}, "prompt: no field 'text'. It may hold {question}"),
    "near_field": (
        {**POPE, "prompt": "{question} {qestion}"},
        "prompt: no field 'qestion'. Did you mean 'question'?",
    ),
    "attribute": ({**POPE, "prompt": "{question.x}"}, "prompt: no field 'question.x'"),
    "index": ({**POPE, "prompt": "{question[0]}"}, "prompt: no field 'question[0]'"),
    "number": ({**POPE, "prompt": "{0}"}, "prompt: no field '0'"),
    "spec": (
        {**POPE, "prompt": "{question:>9}"},
        "prompt: 'question' has a format or conversion of its own",
    ),
    "conversion": (
        {**POPE, "prompt": "{question!r}"},
        "prompt: 'question' has a format or conversion of its own",
    ),
    "brace": ({**POPE, "prompt": "{question} {"}, "Single '{' encountered"),
    "closing": ({**POPE, "prompt": "} {question}"}, "Single '}' encountered"),
    "constant": ({**POPE, "prompt": "Well?"}, "has no {question}: all items would be asked"),
    "chinese": (
        {**CHOICE, "prompt": "{question}", "options": {"chinese": "{options} {frage}"}},
        "option 'chinese': no field 'frage'. It may hold {question}, {options}",
    ),
    "chinese_type": ({**CHOICE, "options": {"chinese": 3}}, "option 'chinese': Input should be"),
    "no_option": ({**POPE, "options": {"chinese": "x"}}, "option 'chinese': there is no such"),
    "win_prompt": ({**WIN, "prompt": "{text}"}, "prompt: has no {prompt}"),
    "win_default": ({k: v for k, v in WIN.items() if k != "prompt"}, "prompt: has no {prompt}"),
    "kind": ({**WIN, "options": {"kind": "nowhere"}}, "option 'kind' is 'nowhere': it must read"),
    "setting": (
        {**POPE, "generation": {"max_new_token": 4}},
        "generation: no setting 'max_new_token'. Did you mean 'max_new_tokens'? It takes",
    ),
    "setting_type": (
        {**POPE, "generation": {"max_new_tokens": "many"}},
        "generation: max_new_tokens: Input should be a valid integer (got 'many')",
    ),
    "setting_range": (
        {**POPE, "generation": {"temperature": -1.0}},
        "generation: temperature: Input should be greater than or equal to 0 (got -1.0)",
    ),
    "samples": ({**WIN, "generation": {"samples": 2}}, "generation: no setting 'samples'"),
    "beams": ({**POPE, "generation": {"num_beams": 2}}, "generation: no setting 'num_beams'"),
    "lm_eval_setting": (
        {**ERRANDS, "generation": {"beams": 2}},
        "generation: no setting 'beams'. Did you mean 'num_beams'?",
    ),
    "of_encoder": (
        {**GARMENTS, "generation": {"max_new_tokens": 3}},
        "generation: no setting 'max_new_tokens'. It takes none.",
    ),
    "primary": ({**POPE, "primary": "accurcy"}, "primary: the card's metric 'accurcy' is none of"),
    "lm_primary": ({**ERRANDS, "primary": "acc"}, "primary: the card's metric 'acc' is none of"),
    "win_primary": ({**WIN, "primary": "won"}, "primary: the card's metric 'won' is none of"),
    "ranks": ({**GARMENTS, "primary": "recall"}, "primary: the card's metric 'recall' is none of"),
    "paired": (
        {**POPE, "paired": ["f1", "acuracy"]},
        "paired: the card's metric 'acuracy' is none of its format's. Did you mean 'accuracy'?",
    ),
    "rule": ({**POPE, "rule": "first-word"}, "rule 'first-word' is not one of its format's"),
    "judge": ({**WIN, "judge": "lob"}, "task 'judge': judge: no judge 'lob'. Did you mean 'lab'?"),
    "profile": (
        {**POPE, "sources": {"paper": POPE["sources"]["lab"]}},
        "has no source in profile 'lab' (paper): give --source profile=FILE",
    ),
    "dataset": (
        {**POPE, "sources": {"lab": {"dataset": "lab/scnes"}}},
        "lab/scnes: no such file or folder, and not embedded. Did you mean 'lab/scenes'?",
    ),
    "split": ({**POPE, "sources": {"lab": {"dataset": "lab/scenes", "split": "x"}}}, "no split"),
    "twice": (None, "twice.yaml: not YAML: the key 'name' is there twice"),
    "key": ({**POPE, "options": {1: 2}}, "key.yaml: options: the key 1 is not a string"),
    "endless": ({**POPE, "options": {"x": float("inf")}}, "options.x: inf is not a finite number"),
}
RIGHT = {"pope_card": POPE, "choice_card": CHOICE, "win_card": WIN, "errands_card": ERRANDS}
RIGHT["garments_card"] = GARMENTS


@pytest.fixture(scope="module")
def strangers(tmp_path_factory):
    """A distribution with a card for every mistake, and some without."""
    site = tmp_path_factory.mktemp("site")
    cards = {name: card for name, (card, _) in WRONG.items()} | RIGHT
    files = {
        f"cards_abroad/cards/{name}.yaml": yaml.safe_dump({**(card or POPE), "name": name})
        for name, card in cards.items()
    }
    files["cards_abroad/cards/twice.yaml"] += "name: other\n"
    points = {"harness.tasks": {name: f"cards_abroad:{name}" for name in cards}}
    package(site, "cards-abroad", {"cards_abroad/__init__.py": CARDS, **files}, points)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        registry.forget()
        yield site
    registry.forget()


def planned(name, method="base", **more):
    return make_plan(run_config({"method": method, "tasks": name, "limit": 2, **more}))


@pytest.mark.parametrize("name", WRONG)
def test_a_strangers_mistake_is_one_line_of_the_plan(name, strangers):
    with pytest.raises(HarnessError) as error:
        planned(name, model="lab/scenes-vlm")
    said = str(error.value)
    assert WRONG[name][1] in said
    assert name in said, "the card is named"
    assert "\n" not in said


@pytest.mark.parametrize("name", RIGHT)
def test_a_strangers_right_card_is_planned(name, strangers):
    assert scored_task(name, run_config({"method": "base", "tasks": name, "limit": 2})).items


def test_the_command_line_says_it_in_one_line(strangers, tmp_path):
    words = ["run", "--method", "base", "--tasks", "primary", "--dry-run"]
    done = launch.run(words, tmp_path, path=[strangers])
    assert (done.status, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("harness: task 'primary': primary: the card's metric")


def test_a_method_that_rewrites_prompts_needs_a_task_that_takes_it():
    with pytest.raises(HarnessError, match="'cot-suffix' changes how answers to task 'errands_sum"):
        planned("errands_sums", "cot-suffix")
    assert planned("errands_prompts", "cot-suffix").tasks


def test_models_and_datasets_of_every_method_are_looked_for_before_the_first_trains(tmp_path):
    asked = {"method": "dpo", "tasks": "pope", "limit": 2}
    with pytest.raises(HarnessError, match="method 'base': no model 'lab/scenes-vlmm'"):
        make_plan(run_config({**asked, "model": "lab/scenes-vlmm"}))
    with pytest.raises(HarnessError, match=r"method 'dpo': lab/scnes: no such .* Did you"):
        make_plan(run_config({**asked, "dataset": "lab/scnes"}))
    with pytest.raises(HarnessError, match=r"method 'dpo': .*pairs.jsonl: no such file"):
        make_plan(run_config({**asked, "dataset": str(tmp_path / "pairs.jsonl")}))
    changed = {"set": {"loss.encoder": "lab/scenes-clipp"}}
    with pytest.raises(HarnessError, match="method 'aspo': no model 'lab/scenes-clipp'"):
        make_plan(run_config({**asked, "method": "dpo,aspo", **changed}))


@pytest.mark.parametrize("text", ["inf", "nan", "-inf", "1e999", "Infinity"])
@pytest.mark.parametrize("field", ["train.lr", "loss.beta", "train.weight_decay"])
def test_a_number_without_end_is_refused_however_it_is_written(field, text):
    with pytest.raises(HarnessError, match=field.rpartition(".")[2]):
        planned("pope", "dpo", set={field: text})


def test_a_presets_unknown_names_are_found(monkeypatch):
    from harness.method import Preset
    from methods.aspo.plugin import Dpo

    for changed in ({"model": "lab/scenes-vlmm"}, {"dataset": "lab/scenez"}):
        names = {"model": "lab/scenes-vlm", "dataset": "lab/scenes", **changed}
        monkeypatch.setattr(Dpo, "presets", {"lab": Preset(**names)})
        with pytest.raises(HarnessError, match=f"^method '.*{changed.popitem()[1]}.*Did you mean"):
            planned("pope", "dpo")


def test_a_placeholder_of_a_methods_prompt_is_checked():
    asked = {"set": {"concepts.prompt": "{phrase} of {colour}"}}
    with pytest.raises(HarnessError, match=r"'fashionklip': concepts: prompt: no field 'colour'"):
        planned("garments", "fashionklip", **asked)


def test_a_settings_mistake_of_a_translator_is_found(tmp_path):
    model = tiny_word_marian(tmp_path / "model")
    rows = tmp_path / "items.jsonl"
    rows.write_text(json.dumps({"source": "red dress", "target": "rotes Kleid"}) + "\n")
    asked = {"tasks": "wmt", "model": str(model), "source": {"wmt": str(rows)}}
    assert make_plan(run_config({**asked, "method": "beam,penalty"})).tasks


NAMES = [(kind, plugin.name) for kind in registry.KINDS for plugin in registry.plugins(kind)]


@pytest.mark.parametrize(("kind", "name"), NAMES, ids=lambda value: value.replace("/", "-"))
def test_every_registered_name_can_be_shown(kind, name):
    text = show_text(registry.find(kind, name))
    assert text.startswith(f"{name} ({kind[:-1]}, harness ")
    assert len(text.splitlines()) > 1


@pytest.mark.parametrize("kind", registry.KINDS)
def test_every_kind_can_be_listed(kind, capsys):
    list_plugins(kind)
    shown = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in shown] == [each.name for each in registry.plugins(kind)]
    assert not any("broken" in line for line in shown)


def test_a_group_shows_its_members_and_a_collection_how_to_name_one():
    assert "- errands_sums" in show_text(registry.find("tasks", "flan"))
    assert "- vicuna_eval" in show_text(registry.find("tasks", "bpo_sets"))
    assert "NAME/MEMBER" in show_text(registry.find("tasks", "lm_eval"))


def test_a_collection_cannot_be_scored_itself():
    with pytest.raises(HarnessError, match="'lm_eval' is a collection: name one of its tasks"):
        planned("lm_eval", model="lab/errands")


@pytest.mark.parametrize(
    ("point", "value"),
    [
        ("methods", "cards_abroad.things:number"),
        ("tasks", "cards_abroad.things:number"),
        ("datasets", "cards_abroad.things:number"),
        ("models", "cards_abroad.things:number"),
        ("judges", "cards_abroad.things:Empty"),
    ],
)
def test_what_is_no_plugin_of_its_kind_is_refused(point, value, tmp_path, monkeypatch):
    files = {
        "odd_things/__init__.py": "",
        "odd_things/things.py": "number = 3\nclass Empty: pass\n",
    }
    value = value.replace("cards_abroad", "odd_things")
    package(tmp_path, "odd-things", files, {f"harness.{point}": {"odd": value}})
    monkeypatch.syspath_prepend(tmp_path)
    registry.forget()
    try:
        with pytest.raises(HarnessError, match=r"'odd' of odd-things 1.0: 'odd_things.*' is not"):
            show_text(registry.find(point, "odd"))
    finally:
        monkeypatch.undo()
        registry.forget()
