"""Outputs that are kept beside leaderboards: whose they are, what `compare` tests from them."""

import json
import shutil
import signal
from functools import partial
from pathlib import Path

import launch
import pytest
from builders import entry
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import leaderboard
from harness.compare import Comparison, compare
from harness.configs import run_config
from harness.errors import HarnessError
from harness.kept import corpus_tests, outputs_path, write_outputs
from harness.leaderboard import Board
from harness.outputs import score_outputs
from harness.report.comparison import comparison_table
from harness.report.terminal import render
from harness.schema import Metric
from harness.store import Store

WORDS = ["der", "rote", "lange", "Rock", "mit", "Tasche", "für", "Damen", "und", "Herren"]
TARGETS = [" ".join(WORDS[i % 5 :] + WORDS[: i % 3]) for i in range(12)]
GOOD = TARGETS
WORSE = [" ".join(text.split()[::-1]) if i % 3 else text for i, text in enumerate(TARGETS)]
ODD = [f"a\u2028b\x85c\u2029d\x0be\x1cf\tg 标题 {i}" for i in range(12)]


@pytest.fixture(scope="module")
def items(tmp_path_factory):
    file = tmp_path_factory.mktemp("world") / "items.jsonl"
    rows = [{"id": f"t{i}", "source": "x", "target": text} for i, text in enumerate(TARGETS)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def scored(items, folder, side, texts, name="system"):
    """The entry of a system's texts, in the leaderboards of one of two sides."""
    file = folder / f"{name}.jsonl"
    file.write_text("".join(json.dumps({"output": text}) + "\n" for text in texts))
    given = {"method": "outputs", "tasks": "wmt", "source": {"wmt": str(items)}}
    places = {"runs": folder / "runs", "leaderboards": folder / side}
    (found,) = score_outputs(run_config({**given, **places}), file)
    return found


@pytest.fixture(scope="module")
def both(items, tmp_path_factory):
    """A folder with sides `a` and `b`, where one system became better, and the outputs of both."""
    folder = tmp_path_factory.mktemp("both")
    scored(items, folder, "a", WORSE)
    scored(items, folder, "b", GOOD)
    for side in "ab":
        file = outputs_path(folder / "runs", scored(items, folder, side, ODD, "same"))
    file.write_text("junk")  # what is unchanged is not looked at
    return folder


@pytest.fixture
def copy(both, tmp_path):
    shutil.copytree(both, tmp_path / "both", symlinks=True)
    return tmp_path / "both"


def kept(folder, side, name="system"):
    (found,) = [
        each
        for each in leaderboard.read(folder / side / "wmt.json").entries.values()
        if each.model.name == name
    ]
    return outputs_path(folder / "runs", found)


# Paired tests


@pytest.fixture(scope="module")
def tested(both, tmp_path_factory):
    """What the command says of both sides, from a folder that has no outputs of its own."""
    words = ["compare", both / "a", both / "b", "--json", "--runs", both / "runs"]
    done = launch.run(words, tmp_path_factory.mktemp("elsewhere"))
    assert done.status == 0, done.stderr
    return Comparison.model_validate_json(done.stdout)


def test_compare_tests_corpus_metrics_where_both_outputs_are_there(tested):
    import sacrebleu

    rows = {row.question.split()[1]: row for row in tested.rows}
    assert rows["same"].verdict == "unchanged" and rows["same"].corpus == {}
    found = rows["system"].corpus
    assert set(found) == {"bleu", "chrf", "chrf++", "ter"}
    expected = [sacrebleu.corpus_bleu(side, [TARGETS]).score for side in (WORSE, GOOD)]
    assert [found["bleu"].a, found["bleu"].b] == pytest.approx(expected)
    for test in found.values():
        assert 0 < test.p_bootstrap < 0.05 and 0 < test.p_randomization < 0.05
    shown = " ".join(render(comparison_table(tested)).split())
    assert f"bleu {expected[0]:.2f} -> 100.0: p " in shown
    assert shown.count("(paired bootstrap)") == shown.count("(approximate randomization)") == 4


@pytest.mark.parametrize("side", ["a", "b", "ab", "elsewhere"])
def test_nothing_is_tested_where_outputs_are_not_there(side, copy):
    if side == "elsewhere":
        (copy / "runs").rename(copy / "moved")
    for each in set(side) & {"a", "b"}:
        kept(copy, each).unlink()
    result = compare(copy / "a", copy / "b", runs=copy / "runs")
    assert [row.corpus for row in result.rows] == [{}, {}]
    assert [row.verdict for row in result.rows].count("unchanged") == 1


def halve(data):
    return data[: len(data) // 2]


def drop_last_line(data):
    return b"".join(data.splitlines(keepends=True)[:-1])


def add_line(data):
    return data + data.splitlines(keepends=True)[0]


DAMAGES = {
    "halved": halve,
    "a line too few": drop_last_line,
    "a line too many": add_line,
    "empty": lambda data: b"",
    "not UTF-8": lambda data: b"\xff" + data,
    "other rows": lambda data: b"{}\n" * 12,
    "no rows": lambda data: b"3\n" * 12,
}


@pytest.mark.parametrize(("damage", "side"), zip(DAMAGES, "abababa", strict=True))
def test_a_damaged_file_is_one_line_that_names_it(damage, side, copy):
    path = kept(copy, side)
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    with pytest.raises(HarnessError) as caught:
        compare(copy / "a", copy / "b", runs=copy / "runs")
    text = str(caught.value)
    assert text.startswith(f"{path}: damaged (") and text.endswith("): remove it.")
    path.unlink()
    assert not any(row.corpus for row in compare(copy / "a", copy / "b", runs=copy / "runs").rows)


def test_a_damaged_file_is_one_line_on_the_screen(copy):
    path = kept(copy, "b")
    path.write_bytes(halve(path.read_bytes()))
    done = launch.run(["compare", "./a", "./b"], copy)
    assert (done.status, done.stdout) == (2, "")
    assert done.stderr.startswith(f"harness: runs/outputs/{path.name}: damaged (")
    assert done.stderr.count("\n") == 1


def test_a_task_without_corpus_metrics_or_none_at_all_has_no_tests(tmp_path):
    rows = [{"id": str(i), "outputs": ["yes"], "reference": "yes"} for i in range(4)]
    for task in ("pope", "unheard_of"):
        sides = entry([0, 1, 1, 0], task=task), entry([1, 1, 1, 0], task=task)
        for each in sides:
            write_outputs(outputs_path(tmp_path, each), rows)
        assert corpus_tests(*sides, tmp_path) == {}


ENDS = ["a\u2028b", "\u2029", "\x85", "\x0b\x0c\x1c\x1d\x1e", "\r\n\t\x00"]
"""What some functions take for the end of a line."""


def test_any_text_survives_where_it_is_kept(items, tmp_path):
    first, second = (
        scored(items, tmp_path, "a", GOOD),
        scored(items, tmp_path, "b", ENDS + GOOD[5:]),
    )
    assert "bleu" in corpus_tests(first, second, tmp_path / "runs")


@pytest.mark.parametrize("text", ENDS)
def test_any_text_survives_in_the_store(text, tmp_path):
    store = Store(tmp_path / "store")
    rows = store.mapped("kind", {}, [0], lambda *_: [{"text": text}])
    assert rows == store.mapped("kind", {}, [0], lambda *_: 1 / 0) == [{"text": text}]


# Whose outputs


def of_task(**task):
    made = entry()
    return made.model_copy(update={"task": made.task.model_copy(update=task)})


OTHERS = {
    "another method": entry(method="dpo"),
    "another model": entry(model="other"),
    "another config": entry(config={"loss": {"beta": 0.2}}),
    "a limit": entry(limit=4),
    "another task": entry(task="shr"),
    "another card": entry(card="c1"),
    "other items": entry(fingerprint="f1"),
    "another split": entry(split="dev"),
    "another option": of_task(options={"target": "fr"}),
    "another engine": of_task(engines={"comet": "x"}),
    "other scores": entry([1, 1, 0, 1]),
    "another metric's value": entry(metrics={"bleu": 30.0}),
    "almost that value": entry(metrics={"bleu": 30.0001}),
    "no value": entry(metrics={"bleu": None}),
}


def test_no_two_results_share_a_file(tmp_path):
    paths = [outputs_path(tmp_path, each) for each in (entry(), *OTHERS.values())]
    assert len(set(paths)) == len(paths)
    for change in ({"commit": "1111111"}, {"profile": "paper"}):
        assert outputs_path(tmp_path, entry(**change)) == paths[0]


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(min_size=1), st.none() | st.floats(-1e9, 1e9), max_size=4))
def test_the_leaderboard_names_the_file_as_the_run_did(values):
    made = entry([0.1, 0.25, 1 / 3])
    metrics = {name: Metric(value=value, n=3) for name, value in values.items()}
    made = made.model_copy(update={"metrics": {**made.metrics, **metrics}})
    text = leaderboard.dump(Board("pope", True, {made.place: made}))
    (read,) = leaderboard.parse(text, "x").entries.values()
    assert outputs_path(Path("runs"), read) == outputs_path(Path("runs"), made)


def test_a_new_result_at_the_same_place_leaves_the_old_outputs(items, tmp_path):
    first = scored(items, tmp_path, "a", WORSE)
    old = outputs_path(tmp_path / "runs", first)
    said = old.read_bytes()
    second = scored(items, tmp_path, "a", GOOD)
    assert second.place == first.place
    assert old.read_bytes() == said
    assert outputs_path(tmp_path / "runs", second) != old
    (link,) = (tmp_path / "runs/outputs-system").iterdir()
    assert link.resolve() == outputs_path(tmp_path / "runs", second).resolve()


BOARDS = sorted((Path(__file__).parents[2] / "leaderboards").glob("**/*.json"))


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_a_leaderboard_of_the_repository_is_read_and_written_to_the_same_bytes(path):
    board = leaderboard.read(path)
    assert board.entries
    assert leaderboard.dump(board).encode() == path.read_bytes()


def test_what_an_old_leaderboard_does_not_know_is_not_written():
    made = entry()
    text = leaderboard.dump(Board("pope", True, {made.place: made}))
    assert not any(f'"{name}"' in text for name in ("signature", "options", "engines"))
    task = made.task.model_copy(update={"options": {"target": "no"}, "engines": {"comet": "x"}})
    metric = Metric(value=None, n=0, signature="not measured: why")
    made = made.model_copy(update={"task": task, "metrics": {**made.metrics, "comet": metric}})
    text = leaderboard.dump(Board("pope", True, {made.place: made}))
    assert leaderboard.parse(text, "x").entries[made.place].task == task
    assert leaderboard.parse(text, "x").entries[made.place].metrics["comet"] == metric


# Killed


@pytest.mark.parametrize(
    ("event", "ending", "recorded"),
    [
        ("os.rename", "boards/wmt.json", False),
        ("os.rename", "outputs/*.jsonl", True),
        ("os.symlink", "wmt.jsonl.*.tmp", True),
        ("os.rename", "outputs-said/wmt.jsonl", True),
    ],
)
def test_a_killed_write_leaves_nothing_half(event, ending, recorded, items, tmp_path):
    (tmp_path / "said.txt").write_text("\n".join(WORSE) + "\n")
    words = ["score", "--task", "wmt", "--source", items, "--predictions", "said.txt"]
    words += ["--leaderboards", "boards"]
    killed = launch.run(words, tmp_path, before=partial(launch.kill_at, event, ending))
    assert killed.status == -signal.SIGKILL, killed.stderr
    assert (tmp_path / "boards/wmt.json").exists() == recorded
    for path in tmp_path.glob("runs/outputs/*.jsonl"):
        assert len(path.read_text().splitlines()) == len(WORSE)
    done = launch.run(words, tmp_path)
    assert done.status == 0, done.stderr
    (found,) = leaderboard.read(tmp_path / "boards/wmt.json").entries.values()
    rows = outputs_path(tmp_path / "runs", found).read_text().splitlines()
    assert [json.loads(row)["outputs"][0] for row in rows] == WORSE
    (link,) = (tmp_path / "runs/outputs-said").iterdir()
    assert link.resolve() == outputs_path(tmp_path / "runs", found).resolve()
