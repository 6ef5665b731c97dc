"""Parallel text: forms of rows, plain files, sacrebleu's own sets, a taxonomy's branches."""

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from harness.errors import DataError
from harness.parallel import parallel_text, parallel_texts
from harness.sources import open_dataset


def write(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    for name, content in files.items():
        data = content.encode() if isinstance(content, str) else content
        (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return folder


def one_line(spec: str) -> str:
    with pytest.raises(DataError) as caught:
        list(open_dataset(spec).rows())
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    "row",
    [
        {"source": "one", "target": "eins"},
        {"src": "one", "reference": "eins"},
        {"source": "one", "ref": "eins", "target": None},
        {"en": "one", "de": "eins", "fr": "un"},
        {"source": "somewhere", "en": "one", "de": "eins"},
        {"translation": {"en": "one", "de": "eins"}},
        {"source": "one", "refs": {"A": "eins", "B": "ein"}},
    ],
)
def test_forms_of_rows(row: dict[str, Any]) -> None:
    assert parallel_text(row, "en", "de", "x line 1") == ("one", "eins")


def test_all_references_of_a_row() -> None:
    named = {"source": "one", "refs": {"B": "ein", "A": "eins", "C": " "}}
    assert parallel_texts(named, "en", "de", "x")[1] == {"B": "ein", "A": "eins"}
    columns = {"en": "one", "ref2.de": "ein", "de": "eins", "ref3.de": None, "ref2.en": "1"}
    assert parallel_texts(columns, "en", "de", "x")[1] == {"de": "eins", "ref2.de": "ein"}
    assert parallel_texts(columns, "de", "en", "x") == ("eins", {"en": "one", "ref2.en": "1"})


def test_nan_is_a_word() -> None:
    assert parallel_text({"en": "nan", "de": "Oma"}, "en", "de", "x") == ("nan", "Oma")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"en": "one", "du": "een"}, "there is no language 'de'. It has: en, du."),
        (
            {"en": "one", "zh-CN": "一", "de-AT": "a"},
            "language 'de'. Did you mean 'de-AT'? It has: en, zh-CN, de-AT.",
        ),
        ({"en": "one", "de-ZZZZ": "a", "dee": "b"}, "Did you mean 'dee'?"),
        ({"eng": "one", "deu": "eins"}, "there is no language 'en'. Did you mean 'eng'?"),
        ({"en": "", "de": "eins"}, "'en' is empty."),
        ({"en": "one", "de": "\t "}, "'de' is empty."),
        ({"en": "one", "de": float("nan")}, "'de' is empty."),
        ({"en": ["one"], "de": "eins"}, "'en' is a list, not text."),
        ({"source": "one", "tagret": "eins"}, "Did you mean 'tagret'?"),
        ({"source": "one", "refs": {"A": ""}}, "'A' is empty."),
        ({}, "there is no language 'en'."),
    ],
)
def test_malformed_rows(row: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError) as caught:
        parallel_text(row, "en", "de", "x line 7")
    text = str(caught.value)
    assert text.startswith("x line 7: ") and message in text and "\n" not in text


def test_plain_files_are_read_line_by_line(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "news.en": "\ufeffone\r\ntwo\u2028and\x0bhalf\n\n",
            "news.de": "eins\nzwei\ndrei",
            "news.ref2.de.gz": "ein\n\n3\n",
            "news.zh-CN": "一\n二\n三\n",
            "news.txt": "about\n",
            "news.en.bak": "old\n",
            "newsroom.fr": "un\n",
        },
    )
    dataset = open_dataset(str(tmp_path / "news"))
    assert list(dataset.splits()) == ["all"]
    first, second, third = dataset.rows()
    assert first == {"de": "eins", "en": "one", "ref2.de": "ein", "zh-CN": "一"}
    assert second["en"] == "two\u2028and\x0bhalf"
    assert parallel_texts(second, "zh-CN", "de", "x") == ("二", {"de": "zwei"})
    assert dataset.place(None, 2) == "news line 3"
    with pytest.raises(DataError, match=r"^news line 3: 'en' is empty\.$"):
        parallel_text(third, "en", "de", dataset.place(None, 2))
    with pytest.raises(DataError, match="no split 'test'"):
        dataset.rows("test")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"en": "a\nb\n", "de": "c\n"}, "news.en: has 2 lines, but news.de has 1"),
        ({"en": "a\n", "de": b"c\n\xff\n"}, "news.de line 2: no UTF-8 (byte 1 of the line)"),
        ({"en": "a\n", "de": b"gr\xfc\xdf\n"}, "news.de line 1: no UTF-8 (byte 3 of the line)"),
        ({"en": "a\n", "de": "c\n".encode("utf-16")}, "news.de line 1: the file is UTF-16"),
        ({"en": "a\n"}, "there is only news.en"),
        ({"en": "", "de": ""}, "news: is empty"),
    ],
)
def test_plain_files_that_do_not_fit(
    tmp_path: Path, files: dict[str, str | bytes], message: str
) -> None:
    write(tmp_path, {f"news.{code}": content for code, content in files.items()})
    assert message in one_line(str(tmp_path / "news"))


def test_a_gzip_that_is_cut_off(tmp_path: Path) -> None:
    write(tmp_path, {"news.en": "a\n"})
    (tmp_path / "news.de.gz").write_bytes(gzip.compress(b"c\n" * 1000)[:20])
    assert "news.de.gz: cannot be read" in one_line(str(tmp_path / "news"))
    (tmp_path / "news.de.gz").write_bytes(b"c\n")
    assert "news.de.gz: cannot be read" in one_line(str(tmp_path / "news"))


def test_a_prefix_without_files_is_no_such_file(tmp_path: Path) -> None:
    assert "no such file or folder" in one_line(str(tmp_path / "news"))
    assert "no such file or folder" in one_line(str(tmp_path / "nowhere" / "news"))


@pytest.fixture
def wmt20(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where sacrebleu keeps the set, which this test fills as a download does."""
    from sacrebleu.dataset import DATASETS

    monkeypatch.setattr(DATASETS["wmt20"], "_outdir", str(tmp_path))
    return tmp_path


def test_sacrebleus_own_sets_where_they_are_on_disk(wmt20: Path) -> None:
    fields = {"src": "one\ntwo\n", "ref": "eins\nzwei\n", "docid": "d1\nd2\n"}
    rest = {"genre": "news\nnews\n", "origlang": "en\nen\n"}
    write(wmt20, {f"wmt20.en-de.{field}": text for field, text in {**fields, **rest}.items()})
    dataset = open_dataset("sacrebleu:wmt20/en-de")
    assert dataset.rows()[1] == {"en": "two", "de": "zwei", "doc": "d2"}
    assert dataset.place(None, 1) == "sacrebleu:wmt20/en-de line 2"


@pytest.mark.parametrize(
    ("name", "pair", "fields"),
    [
        ("wmt14/full", "de-en", ["ref"]),
        ("mtedx/test", "es-en", ["ref"]),
        ("wmt21", "en-zh", ["ref:A"]),
        ("wmt21/B", "en-zh", ["ref:B"]),
        ("wmt21/AB", "en-zh", ["ref:A", "ref:B"]),
    ],
)
def test_references_of_sacrebleus_sets_are_those_it_scores_against(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, pair: str, fields: list[str]
) -> None:
    from sacrebleu.dataset import DATASETS

    monkeypatch.setattr(DATASETS[name], "_outdir", str(tmp_path))
    prefix = f"{name.replace('/', '_')}.{pair}"
    files = {"src": "one\n", **{field: f"{field}\n" for field in fields}, "Online-B": "1\n"}
    write(tmp_path, {f"{prefix}.{k.replace(':', '-')}": text for k, text in files.items()})
    (row,) = open_dataset(f"sacrebleu:{name}/{pair}").rows()
    source, target = pair.split("-")
    assert list(parallel_texts(row, source, target, "x")[1].values()) == fields


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("wmt20/en-de", "not on this disk. `sacrebleu --download wmt20 -l en-de` gets it."),
        ("wmt20/en-dd", "no 'en-dd'. Did you mean 'en-de'?"),
        ("wtm20/en-de", "no test set 'wtm20'. Did you mean 'wmt20'?"),
        ("wmt20", "no test set ''. `sacrebleu --list` shows all."),
    ],
)
def test_sacrebleus_own_sets_that_are_not_there(wmt20: Path, spec: str, message: str) -> None:
    text = one_line(f"sacrebleu:{spec}")
    assert text.startswith(f"sacrebleu:{spec}: ") and message in text


def taxonomy(folder: Path, ids: list[str]) -> str:
    lines = [json.dumps({"id": name, "en": f"en {name}", "de": f"de {name}"}) for name in ids]
    return str(write(folder, {"paths.jsonl": "\n".join(lines)}) / "paths.jsonl")


IDS = [
    f"{top}-{i}" + deep for top in ("aa", "bb") for i in range(60) for deep in ("", "-1", "-1-2")
]


def test_branches_are_whole_and_training_comes_first(tmp_path: Path) -> None:
    dataset = open_dataset(taxonomy(tmp_path, ["aa", *IDS, "bb"]) + ":branches")
    assert list(dataset.splits()) == ["train", "dev", "test"]
    branches = {name: {row["doc"] for row in dataset.rows(name)} for name in dataset.splits()}
    assert dataset.rows() == dataset.rows("train")
    assert sum(len(dataset.rows(name)) for name in dataset.splits()) == 2 + len(IDS)
    assert not branches["train"] & branches["test"]
    assert not branches["dev"] & (branches["train"] | branches["test"])
    assert {"aa", "bb"} <= branches["train"]
    for name in ("dev", "test"):
        assert 4 <= len(branches[name]) <= 25  # of 120
        rows = dataset.rows(name)
        assert all(row["id"].startswith(row["doc"]) for row in rows)
        place = dataset.place(name, 1)
        assert place == f"paths.jsonl line {['aa', *IDS, 'bb'].index(rows[1]['id']) + 1}"


def test_a_branch_stays_where_it_is_in_a_part_of_the_taxonomy(tmp_path: Path) -> None:
    whole = open_dataset(taxonomy(tmp_path, IDS) + ":branches")
    expected = {name: [row["id"] for row in whole.rows(name)] for name in whole.splits()}
    part = open_dataset(taxonomy(tmp_path, IDS[90:][::-1]) + ":branches")
    for name in part.splits():
        assert {row["id"] for row in part.rows(name)} <= set(expected[name])


def test_what_has_no_branches_is_not_split(tmp_path: Path) -> None:
    spec = taxonomy(tmp_path, ["13254", "2878"]) + ":branches"
    assert "paths.jsonl line 1: too few branches for the split 'dev'" in one_line(spec)
    with pytest.raises(DataError, match=r"no split 'tset'\. Did you mean 'test'\?"):
        open_dataset(taxonomy(tmp_path, IDS) + ":branches").rows("tset")
    write(tmp_path, {"paths.jsonl": '{"en": "a"}'})
    assert "paths.jsonl line 1: there is no 'id'" in one_line(f"{tmp_path}/paths.jsonl:branches")
    assert "no such file" in one_line(f"{tmp_path}/path.jsonl:branches")
