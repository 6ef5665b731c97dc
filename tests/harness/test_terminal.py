import io
import json

import pytest
from builders import entry
from rich.cells import cell_len
from rich.console import Console

from harness.compare import Comparison, compare_boards
from harness.report.comparison import comparison_table
from harness.report.terminal import render, run_table
from harness.schema import Entry

BASE = [0, 1] * 60
GOOD = [1, 1, 1, 0] * 10 + [1] * 80
SHR = {"object_recall": 0.59, "sentences_per_answer": 3.98}


def run_entries(lab: bool = True) -> list[Entry]:
    return [
        entry(BASE, method="base", seed=None, lab=lab),
        *(entry(GOOD, method="aspo", seed=seed, lab=lab) for seed in range(3)),
        entry(BASE, method="dpo", lab=lab, overrides={"data.modes": ["[bold]", "x"] * 9}),
        entry(
            [(1.0, 4.0)] * 30,
            task="shr",
            primary="wrong_sentences",
            method="base",
            seed=None,
            higher_is_better=False,
            metrics=dict(SHR),
            lab=lab,
        ),
        entry(
            [(i % 2, 4.0) for i in range(30)],
            task="shr",
            primary="wrong_sentences",
            higher_is_better=False,
            metrics=dict(SHR),
            lab=lab,
        ),
    ]


def comparison(lab: bool = True) -> Comparison:
    old: dict[tuple[bool, str], dict[str, Entry]] = {}
    new: dict[tuple[bool, str], dict[str, Entry]] = {}
    for each in run_entries(lab):
        key = (lab, each.task.name)
        old.setdefault(key, {})[each.place] = each
        changed = entry(
            GOOD if each.task.name == "pope" else [(0.0, 4.0)] * 30,
            **{
                name: getattr(each, name)
                for name in ("method", "seed", "lab", "primary", "higher_is_better", "overrides")
            },
            task=each.task.name,
            metrics=dict(SHR) if each.task.name == "shr" else None,
            card="c1" if each.method == "dpo" else "c0",
        )
        new.setdefault(key, {})[each.place] = changed
    return compare_boards(old, new, "HEAD~1", "HEAD")


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_tables_fit_and_lose_nothing(width: int) -> None:
    for tables in (run_table(run_entries()), comparison_table(comparison())):
        text = render(tables, width)
        assert max(map(cell_len, text.splitlines())) <= width
        assert "…" not in text or width < 80
        assert not set(text) & set("│─┃━\x1b")
        assert all(line == line.rstrip() for line in text.splitlines())


def test_run_table_says_values_differences_and_cost() -> None:
    text = render(run_table(run_entries()), 140)
    pope = text.partition("\n\n")[0]
    lines = {line.split("  ")[0]: line for line in pope.splitlines()}
    assert "accuracy ↑ higher is better, 120 items" in text
    assert "wrong_sentences ↓ lower is better, 30 items" in text
    assert "0.500 [0.411, 0.589]" in lines["base (lab)"]
    assert "+0.417 [+" in lines["aspo (lab)"]
    assert lines["aspo (lab)"].endswith("<0.001    better")
    assert "mean of 3 seeds; 712k trainable parameters (100 %); 48.2k train tokens" in text
    assert "712k parameters, none trained" in text
    assert 'data.modes=["[bold]","x"' in text


def test_secondary_metrics_are_always_shown() -> None:
    for tables in (run_table(run_entries()), comparison_table(comparison())):
        for width in (80, 140):
            text = render(tables, width)
            assert text.count("object_recall 0.590") == text.count("sentences_per_answer 3.980")
            assert text.count("object_recall 0.590") == 2


def test_lab_is_marked_in_title_and_rows_and_only_there() -> None:
    for run in (True, False):
        marked, public = (
            render(run_table(run_entries(lab)) if run else comparison_table(comparison(lab)), 140)
            for lab in (True, False)
        )
        rows = [line for line in marked.splitlines() if line[:4] in ("base", "aspo", "dpo ")]
        assert rows
        assert all("(lab)" in row for row in rows)
        assert "pope (lab): accuracy" in marked
        assert "not the public benchmark" in marked
        assert "(lab)" not in public
        assert "not the public benchmark" not in public


def test_comparison_lists_what_was_refused() -> None:
    text = render(comparison_table(comparison()), 140)
    assert text.startswith("HEAD~1 -> HEAD\n")
    assert "Not compared: 1" in text
    assert "task card differs: c0 / c1" in text
    empty = render(comparison_table(Comparison(a="x", b="y", rows=[], refused=[])))
    assert "nothing to compare" in empty


def test_output_without_unicode_has_no_arrows() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    Console(file=stream, width=80).print(run_table(run_entries()))
    stream.seek(0)
    assert "accuracy higher is better" in stream.read()


def test_colour_only_repeats_the_words() -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=120, force_terminal=True, color_system="standard")
    console.print(run_table(run_entries()))
    assert "\x1b[32mbetter" in stream.getvalue()


def test_missing_baseline_is_said() -> None:
    text = render(run_table([entry(GOOD)]))
    assert "not compared" in text
    assert "no result of base to compare with" in text


def test_schema_and_terminal_import_nothing_heavy() -> None:
    import subprocess
    import sys

    code = (
        "import sys, json; import harness.schema; first = set(sys.modules);"
        "import harness.compare, harness.report.terminal;"
        "print(json.dumps([sorted(first & {'numpy', 'scipy', 'rich'}),"
        "sorted(set(sys.modules) & {'torch', 'scipy', 'rich', 'filelock'})]))"
    )
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert json.loads(output.stdout) == [[], []]


def test_a_limit_is_said_to_be_no_sample() -> None:
    text = render(run_table([entry(GOOD, method="base", seed=None, limit=100)]), 140)
    assert "--limit 100: the first 100 items of a task, which are no sample of it." in text
    assert "--limit" not in render(run_table(run_entries()), 140)


@pytest.mark.parametrize(("wrong", "rough"), [(2, True), (40, False)])
def test_an_interval_that_rests_on_too_little_is_said_to_be_rough(wrong: int, rough: bool) -> None:
    scores = [0] * wrong + [1] * (120 - wrong)
    text = render(run_table([entry(scores, method="base", seed=None)]), 140)
    assert ("] (rough)" in text) == ("rough: too few items" in text) == rough
