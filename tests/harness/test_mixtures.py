"""Mixtures: which rows are drawn, through which templates, and what is wrong in a line."""

import json
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import DataError
from harness.items import fingerprint_rows
from harness.mixtures import Mixture, share_out

QUESTION = {"prompt": "Q: {q}", "answer": "{a}"}


def source(folder: Path, name: str, count: int) -> str:
    lines = [json.dumps({"q": f"{name} {i}?", "a": f"{name} {i}."}) for i in range(count)]
    (folder / name).write_text("\n".join(lines), encoding="utf-8")
    return name


def part(folder: Path, name: str, count: int, **settings: Any) -> dict[str, Any]:
    return {"source": source(folder, name, count), "templates": [QUESTION], **settings}


def mixture(folder: Path, *parts: dict[str, Any], **settings: Any) -> Mixture:
    path = folder / "mix.yaml"
    path.write_text(yaml.safe_dump({**settings, "parts": list(parts)}), encoding="utf-8")
    return Mixture(path)


def tasks(rows: Any) -> Counter[str]:
    return Counter(row["task"] for row in rows)


def test_without_weights_every_row_comes_once(tmp_path: Path) -> None:
    mixed = mixture(tmp_path, part(tmp_path, "a.jsonl", 30), part(tmp_path, "b.jsonl", 10))
    rows = mixed.rows()
    assert Counter(row["prompt"] for row in rows) == Counter(
        f"Q: {name} {i}?"
        for name, count in (("a.jsonl", 30), ("b.jsonl", 10))
        for i in range(count)
    )
    assert all(row["answer"] == row["prompt"][3:-1] + "." for row in rows)
    assert all(row["prompt"].startswith(f"Q: {row['task']} ") for row in rows)
    assert 3 < tasks(rows[:20])["b.jsonl"] + 2 < 12, "the parts are mixed"
    assert list(mixed.splits()) == ["all"] and list(mixed.rows("all")) == list(rows)


def test_a_limit_takes_rows_at_random(tmp_path: Path) -> None:
    rows = mixture(tmp_path, part(tmp_path, "a.jsonl", 100, limit=20)).rows()
    numbers = {int(row["answer"].split()[1][:-1]) for row in rows}
    assert len(rows) == len(numbers) == 20
    assert max(numbers) > 50


def test_weights_are_shares_and_a_small_source_is_gone_through_again(tmp_path: Path) -> None:
    rows = mixture(
        tmp_path,
        part(tmp_path, "a.jsonl", 90, weight=1),
        part(tmp_path, "b.jsonl", 10, weight=2, limit=7),
        rows=60,
    ).rows()
    assert tasks(rows) == {"a.jsonl": 20, "b.jsonl": 40}
    often = Counter(row["prompt"] for row in rows if row["task"] == "b.jsonl")
    assert len(often) == 7 and sorted(often.values()) == [5, 5, 6, 6, 6, 6, 6]


def test_with_weights_there_are_as_many_rows_as_without(tmp_path: Path) -> None:
    heavy = part(tmp_path, "a.jsonl", 30, weight=1), part(tmp_path, "b.jsonl", 10, weight=1)
    assert tasks(mixture(tmp_path, *heavy).rows()) == {"a.jsonl": 20, "b.jsonl": 20}


@given(st.integers(0, 1000), st.lists(st.integers(1, 100), min_size=1, max_size=8))
def test_shares_are_whole_and_within_one_of_exact(total: int, weights: list[int]) -> None:
    shares = share_out(total, weights)
    assert sum(shares) == total
    for share, weight in zip(shares, weights, strict=True):
        assert abs(share - Fraction(total * weight, sum(weights))) < 1


def test_the_same_file_is_the_same_mixture(tmp_path: Path) -> None:
    parts = part(tmp_path, "a.jsonl", 30), part(tmp_path, "b.jsonl", 10, limit=5)
    first = mixture(tmp_path, *parts).rows()
    assert mixture(tmp_path, *parts).rows() == first
    other = mixture(tmp_path, *parts, seed=1).rows()
    assert [row["prompt"] for row in other] != [row["prompt"] for row in first]
    assert {row["prompt"] for row in other} != {row["prompt"] for row in first}
    assert fingerprint_rows(other) != fingerprint_rows(first)
    more = mixture(tmp_path, *parts, part(tmp_path, "c.jsonl", 5)).rows()
    assert sorted(r["prompt"] for r in more if r["task"] != "c.jsonl") == sorted(
        r["prompt"] for r in first
    ), "a further part leaves the others' rows"


def test_each_row_goes_through_one_of_its_own_templates(tmp_path: Path) -> None:
    (tmp_path / "flan.json").write_text(
        json.dumps({"PATTERNS": {"ask": [["A {q}", "{a}"], ["B {q}", "{a}"], ["C", "{q}"]]}})
    )
    source(tmp_path, "a.jsonl", 300)
    asked = {"source": "a.jsonl", "templates": "flan.json#ask"}
    rows = mixture(tmp_path, asked, part(tmp_path, "b.jsonl", 5)).rows()
    kinds = Counter(row["prompt"][0] for row in rows if row["task"] == "a.jsonl")
    assert kinds.keys() == set("ABC") and min(kinds.values()) > 70
    assert {row["prompt"][:2] for row in rows if row["task"] == "b.jsonl"} == {"Q:"}


def test_expressions_make_fields_of_what_a_row_has(tmp_path: Path) -> None:
    row = {"choices": {"text": ["red", "blue"], "label": ["A", "B"]}, "key": "B", "a name": " x "}
    (tmp_path / "arc.json").write_text(json.dumps([row]))
    (made,) = mixture(
        tmp_path,
        {
            "source": "arc.json",
            "task": "arc",
            "fields": {
                "options": "choices.text",
                "answer": "choices.text[choices.label.index(key)]",
                "named": 'row["a name"] | trim',
                "right": "key == 'B' and 'yes' or 'no'",
            },
            "templates": [{"prompt": "{named}{key}\n{options_}", "answer": "{answer} {right}"}],
        },
    ).rows()
    assert made == {
        "prompt": "xB\nOPTIONS:\n- red\n- blue",
        "answer": "blue yes",
        "task": "arc",
    }


def test_a_table_without_header_is_read_as_flan_writes_it(tmp_path: Path) -> None:
    (tmp_path / "cot.tsv").write_text('Is "this\\nso?\tyes\tA\\nB\nWhy?\tno\tC\n')
    mixed = mixture(
        tmp_path,
        {
            "source": "cot.tsv",
            "columns": ["q", "a", "why"],
            "templates": [{"prompt": "{q}", "answer": "{why}: {a}"}],
        },
    )
    assert {(row["prompt"], row["answer"]) for row in mixed.rows()} == {
        ('Is "this\nso?', "A\nB: yes"),
        ("Why?", "C: no"),
    }
    place = "line 2" if mixed.rows()[0]["prompt"] == "Why?" else "line 1"
    assert mixed.place(None, 0) == f"mix.yaml row 1 (of cot.tsv {place})"


def test_mixtures_are_parts_and_keep_their_tasks(tmp_path: Path) -> None:
    inner = mixture(tmp_path, part(tmp_path, "a.jsonl", 4), part(tmp_path, "b.jsonl", 3))
    inner.path.rename(tmp_path / "inner.yml")
    outer = mixture(tmp_path, {"source": "inner.yml"}, part(tmp_path, "c.jsonl", 2, task="c"))
    assert tasks(outer.rows()) == {"a.jsonl": 4, "b.jsonl": 3, "c": 2}
    inner_rows = {row["prompt"]: dict(row) for row in Mixture(tmp_path / "inner.yml").rows()}
    assert all(inner_rows.get(row["prompt"], row) == row for row in outer.rows())


def test_a_mixture_within_itself_is_one_line(tmp_path: Path) -> None:
    mixture(tmp_path, {"source": "mix.yaml"}).path.rename(tmp_path / "other.yaml")
    mixed = mixture(tmp_path, {"source": "other.yaml"})
    with pytest.raises(DataError, match=r"^other.yaml part 1: mix.yaml would be a part of itself"):
        mixed.rows()


def test_registered_datasets_are_parts_by_name(tmp_path: Path) -> None:
    titles = {
        "source": "lab/titles",
        "split": "dev",
        "limit": 5,
        "templates": [{"prompt": "{source}", "answer": "{target}"}],
    }
    mixed = mixture(tmp_path, titles)
    assert len(mixed.rows()) == 5
    assert tasks(mixed.rows()) == {"lab/titles": 5}
    assert mixed.lab
    assert not mixture(tmp_path, part(tmp_path, "a.jsonl", 2)).lab


def test_hub_datasets_are_parts_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    table = datasets.Dataset.from_dict({"q": ["1?", "2?"], "a": ["1", "2"]})
    asked = []

    def load(name: str, config: str | None, split: str, revision: str | None) -> Any:
        asked.append((name, config, split, revision))
        return table

    monkeypatch.setattr(datasets, "get_dataset_split_names", lambda *a, **k: ["dev", "train"])
    monkeypatch.setattr(datasets, "load_dataset", load)
    hub = {"source": "owner/name:en", "revision": "abc", "split": "train", "templates": [QUESTION]}
    rows = mixture(tmp_path, hub).rows()
    assert sorted(row["prompt"] for row in rows) == ["Q: 1?", "Q: 2?"]
    assert asked == [("owner/name", "en", "train", "abc")]


def test_files_lie_against_the_mixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mixed = mixture(tmp_path, part(tmp_path, "a.jsonl", 2))
    monkeypatch.chdir("/")
    assert len(mixed.rows()) == 2


TEMPLATES = "mix.yaml part 1: templates: give FILE#TASK or a list of {prompt, answer}."
A = {"source": "a.jsonl", "templates": [QUESTION]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("parts: [", "mix.yaml: not YAML: while parsing"),
        ("- a", "mix.yaml: a mixture is a mapping with `parts`."),
        ("", "mix.yaml: a mixture is a mapping with `parts`."),
        ({}, "mix.yaml: 'parts' is missing."),
        ({"parts": []}, "mix.yaml: parts: List should have at least 1 item"),
        ({"part": [A]}, "mix.yaml: "),
        ({"parts": [A], "sed": 1}, "mix.yaml: no setting 'sed'. Did you mean 'seed'? There are"),
        ({"parts": [A, {}]}, "mix.yaml part 2: 'source' is missing."),
        ({"parts": [A, "b.jsonl"]}, "mix.yaml part 2: Input should be a valid dictionary"),
        (
            {"parts": [{**A, "wieght": 2}]},
            "mix.yaml part 1: no setting 'wieght'. Did you mean 'weight'? There are source,",
        ),
        ({"parts": [{**A, "weight": 0}]}, "mix.yaml part 1: weight: Input should be greater"),
        ({"parts": [{**A, "weight": float("inf")}]}, "mix.yaml part 1: weight: Input should be"),
        ({"parts": [{**A, "limit": 0}]}, "mix.yaml part 1: limit: Input should be greater"),
        ({"parts": [{**A, "weight": 1}, A]}, "mix.yaml: give a weight to every part, or to none."),
        (
            {"parts": [{**A, "weight": 1}, {**A, "weight": 1000}]},
            "mix.yaml part 1: its share of the rows is none: raise its weight.",
        ),
        ({"parts": [{**A, "split": "test"}]}, "{folder}/a.jsonl: no split 'test'"),
        ({"parts": [{"source": "b.jsonl"}]}, "{folder}/b.jsonl: no such file or folder. Did you"),
        ({"parts": [{"source": "nowhere"}]}, "nowhere: no such file or folder."),
        ({"parts": [{"source": "no.yaml"}]}, "{folder}/no.yaml: cannot be read"),
        ({"parts": [{**A, "templates": []}]}, TEMPLATES),
        ({"parts": [{**A, "templates": 3}]}, TEMPLATES),
        ({"parts": [{**A, "templates": [{"prompt": "{q}"}]}]}, TEMPLATES),
        ({"parts": [{**A, "templates": "flan.json#arc"}]}, "{folder}/flan.json: cannot be read"),
        (
            {"parts": [{**A, "templates": [QUESTION, {"prompt": "{qq}", "answer": "{a}"}]}]},
            "mix.yaml part 1 template 2: field 'qq' is not in a.jsonl line 1. Did you mean 'q'? "
            "It has: file, q, a.",
        ),
        (
            {"parts": [{"source": "a.jsonl"}]},
            "mix.yaml part 1 template 1: field 'prompt' is not in a.jsonl line 1. It has:",
        ),
        (
            {"parts": [{**A, "templates": [{"prompt": "{q}", "answer": "yes"}]}]},
            "mix.yaml part 1 template 1: the answer 'yes' has no {field}",
        ),
        ({"parts": [{**A, "fields": {"x": "q +"}}]}, "mix.yaml part 1: field 'x': 'q +' is no"),
        (
            {"parts": [{**A, "fields": {"x": "qq"}}]},
            "mix.yaml part 1: field 'x': 'qq' fails at a.jsonl line 1: 'qq' is undefined. It has:",
        ),
        ({"parts": [{**A, "fields": {"x": "q.r"}}]}, "mix.yaml part 1: field 'x': 'q.r' fails at"),
        ({"parts": [{**A, "fields": {"x": "1/0"}}]}, "mix.yaml part 1: field 'x': '1/0' fails at"),
        (
            {"parts": [{**A, "fields": {"x": "q.__class__.mro()"}}]},
            "mix.yaml part 1: field 'x': 'q.__class__.mro()' fails at a.jsonl line 1: access to",
        ),
        ({"parts": [{**A, "fields": {"x": "q|random"}}]}, "mix.yaml part 1: field 'x'"),
        ({"parts": [{**A, "fields": {"x": ["q"]}}]}, "mix.yaml part 1: fields.x: Input should be"),
        ({"parts": [{**A, "columns": ["q"]}]}, "a.jsonl line 2: has 2 cells, `columns` names 1."),
        ({"parts": [{**A, "columns": ["q", "q"]}]}, "a.jsonl: `columns` names 'q' twice."),
        ({"parts": [{**A, "source": "empty.jsonl"}]}, "empty.jsonl: is empty"),
        (
            {"parts": [{**A, "source": "empty.jsonl", "columns": ["q", "a"]}]},
            "mix.yaml part 1: empty.jsonl has no row.",
        ),
    ],
)
def test_what_is_wrong_is_one_line_with_the_place(
    tmp_path: Path, content: Any, message: str
) -> None:
    (tmp_path / "a.jsonl").write_text('{"q": "1?", "a": "1"}\n{"q":\t"2?", "a": "2"}\n')
    (tmp_path / "empty.jsonl").write_text("")
    text = content if isinstance(content, str) else yaml.safe_dump(content)
    (tmp_path / "mix.yaml").write_text(text)
    with pytest.raises(DataError) as caught:
        Mixture(tmp_path / "mix.yaml").rows()
    assert str(caught.value).startswith(message.replace("{folder}", str(tmp_path)))
    assert "\n" not in str(caught.value)


def test_other_splits_are_an_error(tmp_path: Path) -> None:
    mixed = mixture(tmp_path, part(tmp_path, "a.jsonl", 2))
    with pytest.raises(DataError, match=r"^mix.yaml: no split 'test': a mixture has only 'all'"):
        mixed.rows("test")
