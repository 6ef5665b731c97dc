"""Control characters of names, categories, answers and messages: never raw on a terminal."""

import io
import json
import sys
import unicodedata
from contextlib import redirect_stderr
from pathlib import Path

import launch
import pytest
from builders import entry
from foreign import METHOD, package
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from harness import cli, leaderboard, registry
from harness.compare import compare_boards
from harness.errors import HarnessError, PluginError
from harness.outputs import score_outputs
from harness.report import markdown, progress
from harness.report.comparison import comparison_table
from harness.report.terminal import render, run_table
from harness.run_config import RunConfig
from harness.schema import Entry, Metric
from harness.shown import echo, shown, shown_lines

JOINERS = "\u200c\u200d"
HOSTILE = "a\x1b[31mred\x1b]0;title\x07\r\n\u202ekcab\u2066\u2028\x9b2J\x7f\u200b[bold]b[/bold]"
controls = st.sampled_from("\x00\x07\x08\t\n\x0b\r\x1b\x7f\x85\x9b\u200b\u202e\u2066\u2028\ufeff[")
texts = st.text(st.one_of(st.characters(exclude_categories=["Cs"]), controls), max_size=30)
CATEGORIES = ("Cc", "Cf", "Cs", "Zl", "Zp")
PLAIN_FORMATS = set("\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2") | {
    *JOINERS,
    *map(chr, (0x110BD, 0x110CD)),
    *map(chr, range(0x13430, 0x13440)),
}
"""Signs that are seen themselves, and joiners of scripts."""


def raw(text: str, allowed: str = "") -> list[str]:
    """The control characters of a text."""
    return [
        c
        for c in text
        if unicodedata.category(c) in CATEGORIES and c not in PLAIN_FORMATS and c not in allowed
    ]


def hostile_entries(text: str, score: float = 1.0) -> list[Entry]:
    part = {"accuracy": Metric(value=(score + 2) / 4, n=2)}
    made = []
    for method in ("base", f"m{text}"):
        scores = [score, 0, 1, 1]
        some = entry(scores, method=method, model=f"m{text}", overrides={f"k{text}": text})
        own = {**some.metrics, f"n{text}": Metric(value=None, n=0, signature=f"no: {text}")}
        kinds = {f"c{text}": part, "other": part}
        made.append(some.model_copy(update={"metrics": own, "categories": kinds}))
    return made


def test_every_control_character_is_escaped_and_nothing_else() -> None:
    for code in range(sys.maxunicode + 1):
        char = chr(code)
        assert (shown(char) == char) == (not raw(char)), f"U+{code:04X}"
    assert (
        shown("é\u00a0日本 \U0001f468\u200d\U0001f469") == "é\u00a0日本 \U0001f468\u200d\U0001f469"
    )


@given(texts)
def test_an_escape_is_jsons_own(text: str) -> None:
    assert json.loads(shown_lines(json.dumps({"a": text}, ensure_ascii=False))) == {"a": text}
    assert not raw(shown(text)) and not raw(shown_lines(text), "\n\t")


@settings(max_examples=60, deadline=None)
@given(texts, st.sampled_from([60, 100]))
def test_tables_show_no_control_character(text: str, width: int) -> None:
    old, new = hostile_entries(text), hostile_entries(text, 0.0)
    sides = [{(True, f"t{text}"): {each.place: each for each in side}} for side in (old, new)]
    for tables in (run_table(old), comparison_table(compare_boards(*sides, text, text))):
        plain = render(tables, width)
        assert not raw(plain, "\n")
        stream = io.StringIO()
        console = Console(file=stream, width=width, force_terminal=True, color_system="truecolor")
        console.print(tables)
        # What is left once rich's own styles are taken away is the plain table.
        assert Text.from_ansi(stream.getvalue()).plain.split() == plain.split()
    assert all(cell_len(line) <= width or "  " in line for line in plain.split("\n"))
    assert not raw(markdown.row(text, text))


def test_markup_in_names_is_text() -> None:
    assert "m[red]x" in render(run_table(hostile_entries("[red]x[/red]")), 100)


def test_progress_shows_names_as_they_are() -> None:
    from rich.progress import Progress, TextColumn

    stream = io.StringIO()
    console = Console(file=stream, width=200)
    with Progress(TextColumn("{task.description}", markup=False), console=console) as shown_bars:
        bars = progress.Bars(shown_bars)
        bars.step(f"{HOSTILE} [/nothing]", 1, 2, {"loss": 1.0})
        bars.step(f"{HOSTILE} [/nothing]", 2, 2, {"loss": 1.0})
    assert "[bold]b[/bold] [/nothing]: 2 in" in stream.getvalue()
    assert not raw(stream.getvalue(), "\n")


@given(texts)
def test_an_error_is_one_line_without_control_characters(text: str) -> None:
    stream = io.StringIO()
    with redirect_stderr(stream), pytest.raises(SystemExit):
        cli._fail(f"no task '{text}'")
    assert stream.getvalue().count("\n") == 1 and not raw(stream.getvalue(), "\n")


def test_examples_and_lists_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    cli._print_examples({HOSTILE: [HOSTILE]})
    echo(HOSTILE)
    said = capsys.readouterr().out
    assert said.count("\\u001b[31mred") == 3 and not raw(said, "\n")
    assert len(said.splitlines()) == 5  # the last text has a line break of its own


def test_a_comparison_of_hostile_leaderboards(tmp_path: Path) -> None:
    for name, score in (("a", 1.0), ("b", 0.0)):
        for each in hostile_entries(HOSTILE, score):
            leaderboard.record(tmp_path / name, each)
    for more in ([], ["--json"]):
        done = launch.run(["compare", "a", "b", *more], tmp_path)
        assert done.status == 0, done.stderr
        assert not raw(done.stdout, "\n") and "\\u202ekcab" in done.stdout
    assert json.loads(done.stdout)["rows"][0]["task"] == "pope"
    (tmp_path / f"c{HOSTILE.partition(']')[0]}.json").write_text("{}")
    done = launch.run(["compare", f"c{HOSTILE.partition(']')[0]}.json", "a"], tmp_path)
    assert done.status == 2 and not raw(done.stderr, "\n")


def test_a_hostile_category_and_answer_scored_by_the_command(tmp_path: Path) -> None:
    rows = [
        {"index": number, "question": "?", "A": "x", "B": "y", "answer": "A", "category": name}
        for number, name in enumerate((HOSTILE, "plain"))
    ]
    named = tmp_path / "out\x1b[31m\u202eputs.jsonl"
    named.write_text('{"output": ["A", "B"]}\n' * 2)
    words = ["score", "--task", "mmbench", "--source", "items.jsonl", "--predictions", named.name]
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    for row in rows:
        row["image"] = "a.png"
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = launch.run(words, tmp_path)
    assert done.status == 0, done.stderr
    assert not raw(done.stdout + done.stderr, "\n")
    assert "\\u202ekcab" in done.stdout.replace("\n    ", "")
    folders = [path for path in tmp_path.rglob("*") if path != named and raw(path.name)]
    assert not folders


def test_no_plugin_of_such_a_name_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "mine\x1b[31m\u202e"
    points = {"harness.methods": {name: "stranger:Mine"}}
    package(tmp_path, "stranger", {"stranger.py": METHOD}, points)
    monkeypatch.syspath_prepend(str(tmp_path))
    registry.forget()
    try:
        with pytest.raises(PluginError, match="control characters in its name"):
            registry.load("methods", name)
        from harness.plugin_commands import list_plugins

        list_plugins("methods")
        assert "mine\\u001b[31m\\u202e" in capsys.readouterr().out
    finally:
        registry.forget()


def test_such_outputs_keep_their_name_and_get_a_plain_folder(tmp_path: Path) -> None:
    with pytest.raises(HarnessError):
        score_outputs(RunConfig(method=["outputs"], tasks=["pope\x1b"]), tmp_path / "none.jsonl")
