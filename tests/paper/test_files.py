"""The files that a user of the paper profile brings, from the command to the leaderboard."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from paper_user import write_lines

from harness.report.terminal import run_table
from harness.schema import Entry

Run = Callable[..., list[Entry]]


def rows_of(run: str, arm: str, task: str) -> list[dict]:
    (path,) = Path("runs").glob(f"{run}-*/{arm}/{task}.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def shown(entries: list[Entry]) -> str:
    from rich.console import Console

    console = Console(width=150, record=True, quiet=True)
    console.print(run_table(entries, "base"))
    return console.export_text()


def test_one_command_trains_two_methods_and_records_two_benchmarks(
    paper: Run, files: Path, clip: Path
) -> None:
    source = {"pope": str(files / "pope"), "mmbench": str(files / "mmbench.tsv")}
    entries = paper(
        method="aspo,dpo",
        tasks="mmbench,pope",
        source=source,
        set={"loss.encoder": str(clip)},
    )
    assert Counter((e.method, e.task.name) for e in entries) == {
        (method, task): 1 for method in ("base", "aspo", "dpo") for task in ("mmbench", "pope")
    }
    assert sorted(map(str, Path("leaderboards").rglob("*.json"))) == [
        "leaderboards/mmbench.json",
        "leaderboards/pope.json",
    ]
    assert not any(entry.lab for entry in entries)
    assert "(lab)" not in shown(entries)
    assert "lab" not in Path("leaderboards/pope.json").read_text().replace('"label', "").replace(
        '"lab": false', ""
    )
    for entry in entries:
        assert entry.profile == "paper"
        assert entry.items.n == {"mmbench": 6, "pope": 24}[entry.task.name]
    aspo, dpo, base = (
        next(e for e in entries if e.method == name) for name in ("aspo", "dpo", "base")
    )
    assert len({aspo.model.weights, dpo.model.weights, base.model.weights}) == 3
    assert aspo.model.base == dpo.model.base == base.model.weights


def test_pope_figures_equal_those_counted_from_the_files(paper: Run, files: Path) -> None:
    base, _ = paper()
    truth = {}
    for category in ("random", "adversarial"):
        name = f"coco_pope_{category}"
        for line in (files / "pope" / f"{name}.json").read_text().splitlines():
            row = json.loads(line)
            truth[f"{name}/{row['question_id']}"] = row["label"]
    answers = {row["id"]: row["outputs"][0] for row in rows_of("dpo_pope", "base", "pope")}
    assert answers.keys() == truth.keys()
    assert set(answers.values()) == {"yes", "no"}
    table = Counter((answers[key], label) for key, label in truth.items())
    hits = table["yes", "yes"]
    said, are = hits + table["yes", "no"], hits + table["no", "yes"]
    assert base.metrics["f1"].value == round(2 * hits / (said + are), 5)
    assert base.metrics["accuracy"].value == round((hits + table["no", "no"]) / 24, 5)
    assert set(base.categories) == {"random", "adversarial"}


def test_rotations_of_a_tsv_are_made_anew_and_shared_pictures_found(
    paper: Run, files: Path
) -> None:
    base, _ = paper(tasks="mmbench", source={"mmbench": str(files / "mmbench.tsv")})
    rows = rows_of("dpo_mmbench", "base", "mmbench")
    assert [row["id"] for row in rows] == [str(i) for i in range(6)]
    assert [len(row["outputs"]) for row in rows] == [2, 3, 4, 2, 3, 4]
    right = sum(
        all(
            answer == "ABCD"[(1 - turn) % len(row["outputs"])]
            for turn, answer in enumerate(row["outputs"])
        )
        for row in rows
    )
    assert base.metrics["accuracy"].value == round(right / 6, 5)
    assert len({e.split(":")[0] for e in base.categories}) == 2


def test_the_method_makes_pairs_of_a_file_without_answers(paper: Run, files: Path) -> None:
    settings = {"pairs.noise_step": 999, "train.batch_size": 4, "train.micro_batch": 4}
    _, dpo = paper(dataset=str(files / "questions.jsonl"), set=settings)
    (answers,) = Path("runs/store/answers").glob("*/rows.jsonl")
    made = [json.loads(line) for line in answers.read_text().splitlines()]
    assert len(made) == 20
    assert all(set(row) == {"chosen", "rejected", "hash"} for row in made)
    different = sum(row["chosen"] != row["rejected"] for row in made)
    (curve,) = Path("runs").glob("dpo_pope-*/dpo-seed0/curves.jsonl")
    assert len(curve.read_text().splitlines()) == different // 4 > 0
    assert dpo.model.weights != dpo.model.base


def test_a_missing_half_of_a_pair_is_made_and_a_given_half_kept(paper: Run, files: Path) -> None:
    rows = [json.loads(line) for line in (files / "pairs.jsonl").read_text().splitlines()]
    for row in rows:
        del row["rejected"]
        row["image"] = str(files / row["image"])
    paper(dataset=str(write_lines(Path("half.jsonl"), rows)))
    (answers,) = Path("runs/store/answers").glob("*/rows.jsonl")
    made = map(json.loads, answers.read_text().splitlines())
    assert all(set(row) == {"rejected", "hash"} for row in made)
