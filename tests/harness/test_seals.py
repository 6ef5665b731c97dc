"""Seals: what was written is read; what was changed, moved, cut or added is named."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import seals
from harness.seals import DamagedError

ROWS = [{"id": "a", "outputs": ["Yes"]}, {"id": "b", "outputs": ["No"]}, {}, {"hash": "own"}]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "fit"
    for name in ("fit.json", "checkpoint/model.safetensors", "steps/one", ".lock", "a.partial/x"):
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_text(f"content of {name}")
    seals.seal(made)
    return made


def test_a_folder_as_it_was_sealed_passes(folder):
    assert seals.is_sealed(folder) and not seals.is_sealed(folder.parent)
    seals.check(folder)


def test_hidden_and_unfinished_files_are_no_part_of_a_result(folder):
    for name in ("steps/two", ".lock", ".x.tmp", "a.partial/y", "chunk-000001.jsonl"):
        (folder / name).write_text("anything")
    seals.check(folder)


def test_the_lines_of_a_seal_have_an_order(folder):
    path = folder / "seal.json"
    lines = path.read_text().splitlines(keepends=True)
    swapped = [lines[3].rstrip() + ",\n", lines[2].rstrip(",\n") + "\n"]
    path.write_text("".join(lines[:2] + swapped + lines[4:]))
    assert seals.damage(folder) == "seal.json is not as it was written"


def as_folder(path):
    path.unlink()
    path.mkdir()


def dangling(path):
    path.unlink()
    path.symlink_to("nowhere")


CHANGES = {
    "another byte": lambda path: path.write_bytes(b"C" + path.read_bytes()[1:]),
    "shorter": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\n"),
    "empty": lambda path: path.write_bytes(b""),
    "gone": Path.unlink,
    "a folder": as_folder,
    "a dangling link": dangling,
}


@pytest.mark.parametrize("name", ["fit.json", "checkpoint/model.safetensors", "seal.json"])
@pytest.mark.parametrize("change", CHANGES)
def test_every_change_of_every_file_is_named_with_what_to_remove(change, name, folder):
    CHANGES[change](folder / name)
    with pytest.raises(DamagedError) as error:
        seals.check(folder)
    assert str(error.value).startswith(f"{folder}: damaged ({name}")
    assert str(error.value).endswith(f": remove {folder}.")


def test_files_that_do_not_belong_to_a_folder_are_named(folder):
    (folder / "checkpoint/adapter_config.json").write_text("{}")
    with pytest.raises(DamagedError) as error:
        seals.check(folder)
    assert str(error.value) == (
        f"{folder}: damaged (checkpoint/adapter_config.json does not belong to it): "
        "remove that file."
    )


def test_a_seal_holds_for_its_own_folder_alone(folder):
    os.rename(folder, folder.with_name("another"))
    assert "seal.json" in str(seals.damage(folder.with_name("another")))


@pytest.mark.parametrize(
    "text", ["[]", "{}", "null", '"x"', '{"files": [], "hash": ""}', "{", "[" * 100_000, "\0"]
)
def test_a_seal_that_is_none_is_damaged(text, folder):
    (folder / "seal.json").write_text(text)
    assert seals.damage(folder) == "seal.json is not as it was written"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None, max_examples=60)
@given(rows=st.lists(st.dictionaries(st.text(), json_values, max_size=3), max_size=4))
def test_rows_come_back_as_they_were_and_are_json_lines(rows, tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    rows = [{k: v for k, v in row.items() if _finite(v)} for row in rows]
    seals.write_rows(path, rows)
    assert seals.read_rows(path) == rows
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    assert [
        {**row, "hash": json.loads(line)["hash"]} for row, line in zip(rows, lines, strict=True)
    ] == [json.loads(line) for line in lines]


def _finite(value):
    return "inf" not in repr(value)


def changed(path, change):
    lines = path.read_text().split("\n")
    path.write_text("\n".join(change(lines)))


ROW_CHANGES = {
    "an answer": lambda lines: [lines[0].replace("Yes", "No"), *lines[1:]],
    "two rows": lambda lines: [lines[1], lines[0], *lines[2:]],
    "a row twice": lambda lines: [lines[0], lines[0], *lines[1:]],
    "a row less": lambda lines: lines[1:],
    "a blank line": lambda lines: ["", *lines],
    "a hash": lambda lines: [lines[0][:-3] + '0"}', *lines[1:]],
    "no hash": lambda lines: ['{"id":"a"}', *lines[1:]],
    "another type": lambda lines: ["[]", *lines[1:]],
    "a cut line": lambda lines: [lines[0][:-5], *lines[1:]],
}


@pytest.mark.parametrize("change", ROW_CHANGES)
def test_rows_that_were_changed_moved_or_cut_are_named(change, tmp_path):
    path = tmp_path / "rows.jsonl"
    seals.write_rows(path, ROWS)
    changed(path, ROW_CHANGES[change])
    with pytest.raises(DamagedError, match=r"rows\.jsonl: damaged \(line \d is not .*: remove X\."):
        seals.read_rows(path, remove="X")


def test_rows_of_another_file_are_not_taken_for_its_own(tmp_path):
    for kind, rows in (("one", ROWS), ("two", ROWS[::-1])):
        seals.write_rows(tmp_path / kind / "rows.jsonl", rows)
    os.replace(tmp_path / "one/rows.jsonl", tmp_path / "two/rows.jsonl")
    with pytest.raises(DamagedError):
        seals.read_rows(tmp_path / "two/rows.jsonl")


def test_appended_rows_are_checked_one_by_one_and_a_cut_last_one_is_dropped(tmp_path):
    path = tmp_path / "answers.jsonl"
    for row in ROWS:
        seals.append_row(path, row)
    whole = path.read_text()
    path.write_text(whole + whole[:20])
    assert list(seals.appended_rows(path)) == ROWS
    path.write_text(whole.replace("Yes", "No"))
    with pytest.raises(DamagedError, match=r"answers\.jsonl line 1: not as it was written"):
        list(seals.appended_rows(path))


def test_text_that_utf8_cannot_hold_survives(tmp_path):
    rows = [{"text": "a \ud800 b", "more": "\u2028 \x85 \n"}]
    seals.write_rows(tmp_path / "rows.jsonl", rows)
    assert seals.read_rows(tmp_path / "rows.jsonl") == rows
