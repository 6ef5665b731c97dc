"""Files, folders and hub names to rows; every malformed thing is one line with its place."""

import base64
import io
import json
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from harness.cards import cards, load_task, read_card
from harness.dataset import Dataset
from harness.errors import DataError, HarnessError, PluginError
from harness.items import fingerprint, fingerprint_rows, read_items
from harness.models.pictures import open_picture
from harness.sources import open_dataset
from harness.task import Item
from tasks.multimodal import mmbench, pope


def png(color: tuple[int, int, int] = (200, 0, 0)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), color).save(buffer, "PNG")
    return buffer.getvalue()


ENCODED = base64.b64encode(png()).decode()


def write(folder: Path, name: str, content: str | bytes) -> str:
    data = content.encode() if isinstance(content, str) else content
    (folder / name).write_bytes(data)
    return str(folder / name)


def rows_of(spec: str) -> list[dict[str, Any]]:
    dataset = open_dataset(spec)
    assert isinstance(dataset, Dataset)
    assert list(dataset.splits()) == ["all"]
    return [dict(row) for row in dataset.rows()]


def test_json_lines_and_arrays_whatever_the_name(tmp_path: Path) -> None:
    lines = write(tmp_path, "lines.json", '\ufeff{"a": 1}\n\n{"a": NaN}\n{"a": "\u2028é"}')
    array = write(tmp_path, "array.jsonl", ' [{"a": 1},\n {"a": null}, {"a": "\u2028é"}]\n')
    expected = [1, None, "\u2028é"]
    assert [row["a"] for row in rows_of(lines)] == expected
    assert [row["a"] for row in rows_of(array)] == expected
    assert open_dataset(lines).place(None, 1) == "lines.json line 3"
    assert open_dataset(array).place("all", 1) == "array.jsonl entry 2"


def test_vlmevalkit_tsv(tmp_path: Path) -> None:
    spec = write(
        tmp_path,
        "MMBench.tsv",
        "index\tquestion\tA\tB\tC\tanswer\tcategory\timage\n"
        f'7\t"What\n""is"" it?"\tred\tblue\t\tA\tcolor\t{ENCODED}\n'
        "1000007\tWhat is it?\tblue\tred\t\tB\tcolor\t7\n",
    )
    first, second = rows_of(spec)
    assert first["question"] == 'What\n"is" it?'
    assert first["C"] is None
    assert first["image"] == second["image"] == png()
    assert open_dataset(spec).place(None, 1) == "MMBench.tsv line 4"
    (item,) = read_items(mmbench, open_dataset(spec))
    assert (item.id, item.inputs["options"], item.reference) == ("7", ["red", "blue"], 0)


def test_pictures_are_found_beside_the_file_and_in_images(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    write(tmp_path, "a.png", png())
    write(tmp_path / "images", "b.png", png())
    names = ["a.png", "b.png", "images/b.png", str(tmp_path / "a.png"), "c.png"]
    names += [ENCODED, "data:image/png;base64," + ENCODED]
    spec = write(tmp_path, "x.jsonl", "\n".join(json.dumps({"image": name}) for name in names))
    images = [row["image"] for row in rows_of(spec)]
    folder = tmp_path
    assert images[:3] == [folder / "a.png", folder / "images/b.png", folder / "images/b.png"]
    assert images[3:5] == [folder / "a.png", folder / "c.png"]
    assert images[5:] == [png(), png()]
    assert open_picture(images[0]).size == (8, 8)


def test_folder_gives_all_its_files_in_order_with_their_names(tmp_path: Path) -> None:
    line = '{"question_id": 1, "image": "a.png", "text": "?", "label": "yes"}\n'
    for name in ("b_random.json", "a_popular.json"):
        write(tmp_path, name, line)
    write(tmp_path, "README.md", "no data")
    write(tmp_path, "a.png", png())
    items = read_items(pope, open_dataset(str(tmp_path)))
    assert [item.id for item in items] == ["a_popular/1", "b_random/1"]
    assert {item.cluster for item in items} == {"a.png"}


def test_parquet_keeps_pictures_in_the_file_until_they_are_read(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    pictures = [{"bytes": png((value, 0, 0)), "path": None} for value in range(5)]
    table = pyarrow.table({"id": list(range(5)), "image": pictures})
    parquet.write_table(table, tmp_path / "p.parquet", row_group_size=2)
    dataset = open_dataset(str(tmp_path / "p.parquet"))
    rows = dataset.rows()
    assert dataset.place(None, 3) == "p.parquet row 4"
    assert [row["image"] for row in rows] == [picture["bytes"] for picture in pictures]
    assert not isinstance(list(rows.records)[3].fields["image"], bytes)  # type: ignore[attr-defined]


def test_nothing_is_read_before_the_rows_are(tmp_path: Path) -> None:
    open_dataset(write(tmp_path, "broken.jsonl", "{"))


TSV = "index\tquestion\timage\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.jsonl", "", "x.jsonl: is empty"),
        ("x.jsonl", "\n \n", "x.jsonl: is empty"),
        ("x.json", "[]", "x.json: is empty"),
        ("x.tsv", "", "x.tsv: is empty"),
        ("x.tsv", TSV, "x.tsv: is empty"),
        ("x.jsonl", '{"a": 1}\n{"a": 2', "x.jsonl line 2: no valid JSON"),
        ("x.jsonl", '{"a": 1}\n{"a": 2', "cut off here"),
        ("x.jsonl", '{"a": 1}\n{a: 2}\n{"a": 3}\n', "x.jsonl line 2: no valid JSON"),
        ("x.jsonl", '{"a": 1}\n[1]\n', "x.jsonl line 2: not an object like {...} but a list."),
        ("x.json", '[{"a": 1},\n{"a": 2}', "x.json line 2: no valid JSON"),
        ("x.json", '[{"a": 1}, 3]', "x.json entry 2: not an object"),
        ("x.json", "[" * 100_000, "x.json: no valid JSON"),
        (
            "x.jsonl",
            '{"a": "\\ud83d\\ude00"}\n{"a": ["\\ud83d"]}',
            "x.jsonl line 2: '\\ud83d' is half",
        ),
        ("x.json", '[{"\\uDE00": 1}]', "x.json entry 1: '\\ude00' is half"),
        ("x.jsonl", b'{"a": 1}\n{"a": "\xe9"}\n', "x.jsonl line 2: no UTF-8"),
        ("x.tsv", TSV.encode() + b"1\t\xff\t2\n", "x.tsv line 2: no UTF-8"),
        ("x.tsv", TSV.encode("utf-16"), "x.tsv line 1: the file is UTF-16"),
        ("x.tsv", TSV + "1\twhat\n", "x.tsv line 2: has 2 cells, the header has 3."),
        ("x.tsv", TSV + '1\t"what\n2\n', "x.tsv line 2: no valid table"),
        ("x.tsv", TSV + '1\t"what\n2\n', "cut off"),
        ("x.tsv", TSV + "1\ta\t2\n1\tb\t2\n", "x.tsv line 3: index '1' stands at x.tsv line 2"),
        ("x.tsv", TSV + "1\ta\t2\n2\tb\t1\n", "x.tsv line 2: its picture is row '2'"),
        ("x.tsv", "a\ta\n1\t2\n", "x.tsv line 1: column 'a' stands twice"),
        ("x.tsv", TSV + f"1\ta\t{ENCODED[:-3]}\n", "x.tsv line 2: the picture is no valid base64"),
        ("x.jsonl", '{"image": "https://a/b.png"}', "x.jsonl line 1: the picture is an address"),
        ("x.jsonl", json.dumps({"image": "?" * 5000}), "x.jsonl line 1: the picture is neither"),
        ("x.parquet", b"PAR1 no", "x.parquet: cannot be read as parquet"),
        ("x.txt", "hello", "x.txt: unknown kind of file"),
    ],
)
def test_malformed_files_are_one_line_with_the_place(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    spec = write(tmp_path, name, content)
    with pytest.raises(DataError) as caught:
        list(open_dataset(spec).rows())
    text = str(caught.value)
    assert text.startswith(name)
    assert message in text
    assert "\n" not in text


def test_names_that_are_nothing_get_a_suggestion(tmp_path: Path) -> None:
    write(tmp_path, "pairs.jsonl", "{}")
    with pytest.raises(DataError, match=r"Did you mean 'pairs\.jsonl'"):
        open_dataset(str(tmp_path / "pair.jsonl"))
    with pytest.raises(DataError, match="no such file or folder"):
        open_dataset("nowhere")
    with pytest.raises(DataError, match="no such file or folder"):
        open_dataset("owner/mixture.yaml")
    with pytest.raises(DataError, match="has no data file"):
        open_dataset(str(tmp_path.joinpath("empty").mkdir() or tmp_path / "empty")).rows()
    with pytest.raises(DataError, match="no split 'test'"):
        open_dataset(str(tmp_path / "pairs.jsonl")).rows("test")


def test_a_yaml_file_is_a_mixture(tmp_path: Path) -> None:
    write(tmp_path, "pairs.jsonl", '{"prompt": "1?", "answer": "1"}')
    dataset = open_dataset(write(tmp_path, "mix.yaml", "parts: [{source: pairs.jsonl}]"))
    assert list(dataset.rows()) == [{"prompt": "1?", "answer": "1", "task": "pairs.jsonl"}]


def test_hub_names_are_opened_only_when_read(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    table = datasets.Dataset.from_dict(
        {"id": [1], "image": [{"bytes": png(), "path": None}]},
        features=datasets.Features({"id": datasets.Value("int64"), "image": datasets.Image()}),
    )
    asked: list[Any] = []

    def load(name: str, config: str | None, split: str, revision: str | None) -> Any:
        asked.append((name, config, split, revision))
        return table

    monkeypatch.setattr(datasets, "get_dataset_split_names", lambda *a, **k: ["dev", "test"])
    monkeypatch.setattr(datasets, "load_dataset", load)
    dataset = open_dataset("owner/name:en", "abc")
    assert asked == []
    assert dataset.rows("test")[0] == {"id": 1, "image": png()}
    assert asked == [("owner/name", "en", "test", "abc")]
    assert dataset.place("test", 0) == "owner/name test row 1"
    with pytest.raises(DataError, match="Did you mean 'test'"):
        dataset.rows("tset")


def test_hub_out_of_reach_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")

    def fail(*_: Any, **__: Any) -> Any:
        raise ConnectionError("no\nnetwork")

    monkeypatch.setattr(datasets, "get_dataset_split_names", fail)
    with pytest.raises(DataError, match=r"^owner/name: cannot be had .* local file") as caught:
        open_dataset("owner/name").rows()
    assert "\n" not in str(caught.value)


def question(number: int, image: str = "a.png") -> str:
    return json.dumps({"question_id": number, "image": image, "text": "?", "label": "yes"}) + "\n"


def test_items_are_checked_up_to_the_limit(tmp_path: Path) -> None:
    write(tmp_path, "a.png", png())
    lines = question(1) + question(2) + question(1) + question(4, "b.png")
    dataset = open_dataset(write(tmp_path, "q.jsonl", lines))
    assert [item.id for item in read_items(pope, dataset, limit=2)] == ["q/1", "q/2"]
    with pytest.raises(DataError, match=r"^q.jsonl line 3: id 'q/1' stands at q.jsonl line 1"):
        read_items(pope, dataset)
    dataset = open_dataset(write(tmp_path, "q.jsonl", question(1, "b.png")))
    with pytest.raises(DataError, match=r"^q.jsonl line 1: there is no picture .*b.png"):
        read_items(pope, dataset)


def test_equal_embedded_pictures_are_held_once(tmp_path: Path) -> None:
    lines = question(1, ENCODED) + question(2, ENCODED)
    first, second = read_items(pope, open_dataset(write(tmp_path, "q.jsonl", lines)))
    assert first.inputs["image"] is second.inputs["image"]


def test_fingerprint_sees_content_and_not_where_it_lies(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    here, there = Path(write(tmp_path, "a.png", png())), tmp_path / "other" / "b.png"
    there.write_bytes(png())

    def mark(image: Any = here, text: str = "?", reference: Any = "yes", name: str = "1") -> str:
        return fingerprint([Item(name, {"image": image, "question": text}, reference)])

    assert mark() == mark(there) == mark(png())
    assert (
        len({mark(), mark(png((1, 2, 3))), mark(text="!"), mark(reference="no"), mark(name="2")})
        == 5
    )
    assert fingerprint([]) != mark()
    row = {"image": here, "image_name": "a.png", "file": "a.jsonl", "weight": float("nan")}
    moved = {"image": there, "image_name": "b.png", "file": "b.jsonl", "weight": None}
    assert fingerprint_rows([row]) == fingerprint_rows([moved])
    assert fingerprint_rows([row]) != fingerprint_rows([{**row, "weight": float("inf")}])


def test_fingerprint_of_ten_thousand_items_is_fast(tmp_path: Path) -> None:
    path = Path(write(tmp_path, "a.png", png()))
    items = [Item(str(i), {"image": path, "question": "?" * 60}, "yes") for i in range(10_000)]
    start = time.process_time()
    fingerprint(items)
    assert time.process_time() - start < 1


CARD = Path(str(__import__("tasks.multimodal").multimodal.__file__)).parent / "cards" / "pope.yaml"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name: pope", "name: [", "not YAML"),
        ("version: 1", "version: 0", "field 'version': "),
        ("primary: f1\n", "", "field 'primary' is missing"),
        ("licence:", "license:", "unknown field 'license'. Did you mean 'licence'?"),
        ("name: pope", "name: other", "field 'name' is 'other', not 'pope'"),
        (":YesNo", ":YesNoo", "field 'format' is 'tasks.multimodal.format:YesNoo'"),
        ("format: tasks.multimodal.format:YesNo", "format: nothing", "'module:attribute'"),
        ("tasks.multimodal.format:YesNo", "os:system", "field 'format' is 'os:system': it is not"),
        ("format:YesNo", "format:Ratio", "format:Ratio': it is not a class of tasks"),
        ("format:YesNo", "format:Judgement", "format:Judgement': it is not a class of tasks"),
    ],
)
def test_a_broken_card_is_one_line_with_file_and_field(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    content = CARD.read_text(encoding="utf-8")
    assert old in content
    path = tmp_path / "cards" / "pope.yaml"
    path.parent.mkdir()
    path.write_text(content.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(PluginError) as caught:
        load_task(path)
    text = str(caught.value)
    assert text.startswith("cards/pope.yaml: ")
    assert message in text
    assert "\n" not in text


def test_cards_of_a_package_are_its_attributes(tmp_path: Path) -> None:
    attribute = cards(str(CARD.parent.parent / "__init__.py"))
    assert attribute("pope").card == read_card(CARD)
    assert attribute("pope") is attribute("pope")
    with pytest.raises(AttributeError):
        attribute("nothing")
    with pytest.raises(HarnessError):
        read_card(tmp_path / "nothing.yaml")
