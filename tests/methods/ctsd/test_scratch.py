"""A model with random weights, trained by the engine on a taxonomy, and the table of its runs."""

import json
import re
import sys
from pathlib import Path

import pytest
import torch
from builders import entry
from typer.testing import CliRunner

from harness.errors import HarnessError
from harness.leaderboard import load_all
from harness.models.loading import load
from harness.models.prompts import TranslationPrompt
from harness.plan import open_data
from harness.schema import Entry
from methods.ctsd import taxonomy
from methods.ctsd.scratch import (
    app,
    joint_tokenizer,
    random_marian,
    run_app,
    training_texts,
    write_scratch,
)

WORDS = {"Pets": "Tiere", "Birds": "Vögel", "Cages": "Käfige", "Baths": "Bäder", "Toys": "Spiele"}
CHINESE = {"Pets": "宠物", "Birds": "鸟类/用品", "Cages": "鸟笼", "Baths": "鸟池", "Toys": "玩具"}


def path(names: list[str]) -> str:
    return " > ".join(names)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 branches with a path each; only those of test have a Q."""
    rows = []
    for branch in range(60):
        names = list(WORDS)[: 2 + branch % 4]
        row = {"id": f"ap-{branch}", "en": path(names)}
        row["de"] = path([WORDS[name] for name in names])
        row["zh-CN"] = path([CHINESE[name] for name in names])
        rows.append(row)
    out = tmp_path_factory.mktemp("taxonomy") / "paths.jsonl"
    write(out, rows)
    tested = {row["id"] for row in open_data(f"{out}:branches").rows("test")}
    for row in rows:
        row["de"] += " > Q" * (row["id"] in tested)
    write(out, rows)
    return out


def write(out: Path, rows: list[dict[str, str]]) -> None:
    out.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture(scope="module")
def texts(file: Path) -> list[str]:
    return training_texts(open_data(f"{file}:branches"), "en", "zh-CN")


@pytest.mark.parametrize("target", ["de", "zh-CN"])
def test_tokens_of_a_text_are_the_text_and_an_end(file: Path, target: str) -> None:
    texts = training_texts(open_data(f"{file}:branches"), "en", target)
    tokenizer = joint_tokenizer(texts, 120)
    assert len(tokenizer) <= 120
    for text in {*texts, "Cages  > Birds"}:
        ids = tokenizer(text)["input_ids"]
        assert ids[-1] == tokenizer.eos_token_id not in ids[:-1]
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids, skip_special_tokens=True) == text
        assert tokenizer(text_target=text)["input_ids"] == ids


def test_frequent_words_of_both_languages_are_one_token(texts: list[str]) -> None:
    tokenizer = joint_tokenizer(texts, 120)
    assert tokenizer.tokenize("Birds > Pets") == ["▁Birds", "▁>", "▁Pets"]
    assert tokenizer.tokenize("宠物") == ["▁宠物"]


def test_the_same_texts_make_the_same_tokens(texts: list[str]) -> None:
    first, second = joint_tokenizer(texts, 120), joint_tokenizer(texts, 120)
    assert first.get_vocab() == second.get_vocab()


def test_only_training_rows_are_read(file: Path) -> None:
    texts = training_texts(open_data(f"{file}:branches"), "en", "de")
    rows = open_data(f"{file}:branches").rows("train")
    assert texts == [row[code] for row in rows for code in ("en", "de")]
    tokenizer = joint_tokenizer(texts, 120)
    assert tokenizer.unk_token_id in tokenizer("Tiere > Q")["input_ids"]


def test_weights_are_those_of_the_seed_and_leave_the_random_state(texts: list[str]) -> None:
    tokenizer = joint_tokenizer(texts, 120)
    state = torch.random.get_rng_state()
    first, again, other = (random_marian(tokenizer, 32, 1, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), state)
    weights = {name: weight for name, weight in first.state_dict().items() if weight.std() > 0}
    assert all(torch.equal(weight, again.state_dict()[name]) for name, weight in weights.items())
    assert not torch.equal(first.lm_head.weight, other.lm_head.weight)


def test_the_folder_is_a_translator_that_says_what_is_likeliest(file: Path, tmp_path: Path) -> None:
    made = write_scratch(
        f"{file}:branches", "en", "de", tmp_path / "m", vocabulary=120, width=32, layers=1
    )
    model = load(tmp_path / "m", "translator")
    same = model.module.state_dict()
    assert all(torch.equal(weight, same[name]) for name, weight in made.state_dict().items())
    (said,) = model.translate([TranslationPrompt("Birds > Toys", "en", "de")], max_new_tokens=9)
    source = torch.tensor([model.tokenizer("Birds > Toys")["input_ids"]])
    output = [model.module.config.decoder_start_token_id]
    assert output == [model.tokenizer.bos_token_id]
    for _ in range(9):
        logits = model.module(input_ids=source, decoder_input_ids=torch.tensor([output])).logits
        output.append(int(logits[0, -1].argmax()))
    assert said.text == model.tokenizer.decode(output, skip_special_tokens=True).strip()


def test_an_existing_folder_is_left_alone(file: Path, tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="is there already"):
        write_scratch(f"{file}:branches", "en", "de", tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--target", "it"], r"paths.jsonl line \d+: there is no language 'it'"),
        (["--target", "de", "--vocabulary", "20"], "a vocabulary of 20 is too small: .* 2[0-9]"),
        (["--target", "de", "--vocabulary", "90", "--width", "33"], "no multiple of 32"),
    ],
)
def test_a_users_error_is_one_line(
    file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    reason: str,
) -> None:
    given = [f"{file}:branches", "--source", "en", "--out", str(tmp_path / "m"), *arguments]
    monkeypatch.setattr(sys, "argv", ["scratch", *given])
    with pytest.raises(SystemExit) as ended:
        run_app(app)
    said = capsys.readouterr().err
    assert ended.value.code == 2 and said.count("\n") == 1
    assert said.startswith("harness: ") and re.search(reason, said)
    assert not (tmp_path / "m").exists()


@pytest.fixture(scope="module")
def boards(file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The leaderboards of a run, and of a sweep with one trial, at a small size."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(taxonomy, "METHODS", ("ce", "ct"))
        patch.setattr(taxonomy, "SHAPE", {"vocabulary": 90, "width": 32, "layers": 1})
        patch.setattr(taxonomy, "BASE", {"train.lr": 1e-2, "train.epochs": 12})
        patch.setattr(taxonomy, "CHOSEN", {"train.lr": 1e-3, "train.epochs": 1})
        patch.setattr(taxonomy, "SETTINGS", {"train.batch_size": 8, "train.precision": "fp32"})
        patch.setattr(taxonomy, "TRIALS", (("ct", {"loss.window": 4}),))
        for command in (["run", "--seeds", "2"], ["sweep"]):
            options = ["--runs", str(folder), "--leaderboards", str(folder / "boards")]
            name, *own = command
            asked = [name, str(file), "--pair", "en-de", *own, *options]
            done = CliRunner().invoke(taxonomy.app, asked, catch_exceptions=False)
            assert done.exit_code == 0
    return folder / "boards"


def entries(boards: Path) -> list[Entry]:
    return list(load_all(boards)[False, "taxonomy_paths"].values())


def test_every_method_starts_from_what_was_trained_from_scratch(boards: Path) -> None:
    found = entries(boards)
    base, *others = [e for e in found if e.model.name.startswith("scratch")]
    assert not others and base.method == "ce" and base.task.split == "dev"
    runs = [e for e in found if e is not base]
    assert {e.model.base for e in runs} == {base.model.weights}
    assert all(re.fullmatch("taxonomy-en-de@[0-9a-f]{8}", e.model.name) for e in runs)
    tested = [(e.method, e.seed) for e in runs if e.task.split == "test"]
    seeded = [(method, seed) for method in ("ce", "ct") for seed in (0, 1)]
    assert sorted(tested, key=str) == sorted([("base", None), *seeded], key=str)


def test_no_entry_names_a_folder_of_this_machine(boards: Path, file: Path) -> None:
    said = (boards / "taxonomy_paths.json").read_text(encoding="utf-8")
    assert str(file.parent) not in said and str(boards.parent) not in said


def test_the_table_has_means_over_seeds_and_no_other_split(
    boards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taxonomy, "CHOSEN", {"train.lr": 1e-3, "train.epochs": 1})
    monkeypatch.setattr(taxonomy, "SETTINGS", {"train.batch_size": 8, "train.precision": "fp32"})
    lines = taxonomy.table(entries(boards), "en-de")
    cells = {line.split(" | ")[0].strip("| "): line.split(" | ")[1:] for line in lines[2:]}
    assert list(cells) == ["base", "ce", "ct"]
    assert len({line.count("|") for line in lines}) == 1
    tested = [e for e in entries(boards) if (e.method, e.task.split) == ("ct", "test")]
    bleu = [e.metrics["bleu"].value or 0.0 for e in tested]
    assert cells["ct"][1] == f"{sum(bleu) / 2:.1f}"
    assert cells["ce"][-1].strip("| ") == ""
    assert re.fullmatch(r".*\[[-+.\d]+, [-+.\d]+\] \||0 \|", cells["base"][-1])
    dev = taxonomy.table(entries(boards), "en-de", "dev")
    assert [line.split(" | ")[0] for line in dev[2:]] == [
        *("| base", "| ce", "| ct"),
        "| ct loss.window=4",
    ]


def test_the_difference_from_ce_is_paired(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taxonomy, "COLUMNS", {"sentence_chrf": ("chrF", 100)})
    monkeypatch.setattr(taxonomy, "SETTINGS", {})
    monkeypatch.setattr(taxonomy, "CHOSEN", {})
    scores = [0.1, 0.3, 0.2, 0.6] * 20
    better = [score + 0.05 for score in scores]
    ce = [scored("ce", scores, seed) for seed in (0, 1)]
    ct = [scored("ct", better, seed) for seed in (0, 1)]
    rows = taxonomy.table([scored("base", better, None), *ce, *ct], "en-de")[2:]
    assert rows == [
        "| base | 35.0 | **+5.0** [+5.0, +5.0] |",
        "| ce | 30.0 |  |",
        "| ct | 35.0 | **+5.0** [+5.0, +5.0] |",
    ]


def scored(method: str, scores: list[float], seed: int | None) -> Entry:
    return entry(
        scores,
        method=method,
        model="taxonomy-en-de@0a1b2c3d",
        seed=seed,
        lab=False,
        primary="sentence_chrf",
        config={},
    )


def test_what_is_not_there_is_one_line(boards: Path) -> None:
    for pair, reason in (
        ("en-fr", "no runs of en-fr on test"),
        ("ende", "no runs of ende on test"),
    ):
        with pytest.raises(HarnessError, match=reason):
            taxonomy.table(entries(boards), pair)


@pytest.mark.parametrize(
    ("pair", "found"), [("en-de", ("en", "de")), ("en-zh-CN", ("en", "zh-CN"))]
)
def test_a_target_may_have_a_region(pair: str, found: tuple[str, str]) -> None:
    assert taxonomy.languages(pair) == found
