"""What is no file, never ends or is far too long is refused; a limit reads about as much."""

import gzip
import json
import os
import socket
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from harness import compact, reading, text_records
from harness.cards import read_card
from harness.configs import run_config
from harness.errors import DataError, HarnessError
from harness.files import hash_files
from harness.items import read_items
from harness.leaderboard import load_all
from harness.models import loading
from harness.models.pictures import open_picture, picture_key
from harness.outputs import matched
from harness.parallel import read_lines
from harness.recipes import read_recipe
from harness.records import open_records, read_records
from harness.sources import open_dataset
from harness.task import Item
from tasks.multimodal import pope

NAMES = ("x.jsonl", "x.json", "x.csv", "x.tsv", "x.parquet", "x.h5", "x.npz", "x.jsonl.gz")
READERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    **{name: (name, lambda path: open_dataset(str(path)).rows()) for name in NAMES},
    "folder": ("x.jsonl", lambda path: open_dataset(str(path.parent)).rows()),
    "mixture": ("x.yaml", read_recipe),
    "config": ("x.yaml", lambda path: run_config({}, path)),
    "card": ("x.yaml", read_card),
    "leaderboards": ("x.json", lambda path: load_all(path.parent)),
    "texts": ("x.en", read_lines),
    "predictions": ("x.jsonl", lambda path: matched(path, [Item("1", {}, "")])),
    "predictions as text": ("x.txt", lambda path: matched(path, [Item("1", {}, "")])),
    "picture": ("x.png", open_picture),
    "picture's content": ("x.png", picture_key),
    "weights": ("model.safetensors", lambda path: loading.identity(path.parent)),
    "model's config": ("config.json", lambda path: loading.identity(path.parent)),
    "folder's files": ("x.bin", lambda path: hash_files(path.parent)),
}


def within(seconds: float, act: Callable[[], Any]) -> Any:
    """What an action returns or raises; fails where it waits."""
    found: list[Any] = []

    def work() -> None:
        try:
            found.append(act())
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    assert found, "it waits"
    return found[0]


@pytest.mark.parametrize("name", READERS)
def test_a_pipe_is_refused_wherever_a_file_belongs(name: str, tmp_path: Path) -> None:
    file, read = READERS[name]
    os.mkfifo(tmp_path / file)
    error = within(5, lambda: read(tmp_path / file))
    assert isinstance(error, HarnessError), error
    assert "is a pipe, not a file" in str(error) and file in str(error)
    assert "\n" not in str(error)


def test_sockets_and_devices_are_refused_too(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(str(tmp_path / "x.jsonl"))
        with pytest.raises(DataError, match="is a socket, not a file"):
            read_records(tmp_path / "x.jsonl")
    (tmp_path / "x.png").symlink_to("/dev/zero")
    with pytest.raises(DataError, match=r"x\.png: is a device, not a file"):
        open_picture(tmp_path / "x.png")
    with pytest.raises(DataError, match="is a device, not a file"):
        run_config({}, Path("/dev/zero"))


def test_a_pipe_as_an_items_picture_is_named_with_its_row(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    row = {"question_id": 1, "image": "a.png", "text": "?", "label": "yes"}
    (tmp_path / "q.jsonl").write_text(json.dumps(row))
    error = within(5, lambda: read_items(pope, open_dataset(str(tmp_path / "q.jsonl"))))
    assert str(error).startswith("q.jsonl line 1: ") and "is a pipe" in str(error)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> int:
    """A bound that tests can exceed."""
    import harness.arrays
    import harness.json_window
    import harness.records

    for module in (reading, text_records, harness.json_window, harness.arrays, harness.records):
        monkeypatch.setattr(module, "LONGEST", 1000)
    for module in (reading, harness.json_window):
        monkeypatch.setattr(module, "CHUNK", 100)
    return 1000


LONG = "x" * 3000
TOO_LONG: dict[str, tuple[str, str]] = {
    "x.jsonl": (f'{{"a": 1}}\n{{"a": "{LONG}"}}\n', "x.jsonl line 2: is longer"),
    "x.json": (f'[{{"a": 1}},\n{{"a": "{LONG}"}}]', "x.json line 2: an entry is longer"),
    "keyed.json": (f'{{\n"k": {{"a": "{LONG}"}}}}', "keyed.json line 2: an entry is longer"),
    "x.csv": (f"a\n1\n{LONG}\n", "x.csv line 3: is longer"),
    "lines.csv": ('a\n"' + "x\n" * 1500 + '"\n', "lines.csv line 2: no valid table (field larger"),
}


@pytest.mark.parametrize("name", TOO_LONG)
@pytest.mark.parametrize("packed", [False, True])
def test_a_line_cell_or_entry_without_end_is_refused(
    name: str, packed: bool, short: int, tmp_path: Path
) -> None:
    content, said = TOO_LONG[name]
    path = tmp_path / (f"{name}.gz" if packed else name)
    path.write_bytes(gzip.compress(content.encode()) if packed else content.encode())
    with pytest.raises(DataError) as error:
        read_records(path)
    assert str(error.value).replace(".gz", "").startswith(said), error.value


def test_a_packed_line_without_end_takes_no_more_than_the_bound(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(300):
            file.write(b" " * 2**20)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="line 1: is longer than 64 MiB"):
            read_records(path)
        assert tracemalloc.get_traced_memory()[1] < 3 * reading.LONGEST
    finally:
        tracemalloc.stop()


def test_cells_of_parquet_and_arrays_have_the_bound(short: int, tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    parquet.write_table(pyarrow.table({"a": ["x", LONG]}), tmp_path / "x.parquet")
    with pytest.raises(DataError, match=r"x\.parquet row 2: 'a' is longer"):
        read_records(tmp_path / "x.parquet")
    np.savez(tmp_path / "x.npz", a=np.zeros((2, 3000)))
    with pytest.raises(DataError, match=r"x\.npz: an entry of 'a' is longer"):
        read_records(tmp_path / "x.npz")
    np.savez_compressed(tmp_path / "bomb.npz", a=np.zeros(10**6, np.uint8))
    with pytest.raises(DataError, match=r"bomb\.npz: 'a\.npy' is [\d,]+ bytes that unpack to"):
        read_records(tmp_path / "bomb.npz")


def test_texts_that_are_read_as_a_whole_have_the_bound(short: int, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(f"a: {LONG}")
    for read in (read_card, read_recipe, lambda path: run_config({}, path)):
        with pytest.raises(HarnessError, match=r"x\.yaml: is longer than"):
            read(tmp_path / "x.yaml")


def questions(folder: Path, count: int, broken: int) -> str:
    Image.new("RGB", (8, 8)).save(folder / "a.png")
    row = {"image": "a.png", "text": "?", "label": "yes"}
    lines = [json.dumps({"question_id": number, **row}) for number in range(count)]
    lines[broken] = "{"
    (folder / "q.jsonl").write_text("\n".join(lines))
    return str(folder / "q.jsonl")


def test_a_limit_reads_about_as_many_rows(tmp_path: Path) -> None:
    source = questions(tmp_path, 10_000, broken=50)
    assert len(read_items(pope, open_dataset(source), limit=20)) == 20
    for _ in range(2):  # and what went wrong is not forgotten
        with pytest.raises(DataError, match="line 51: no valid JSON"):
            read_items(pope, open_dataset(source))
    dataset = open_dataset(source)
    for _ in range(2):
        with pytest.raises(DataError, match="line 51: no valid JSON"):
            len(dataset.rows())


CONTENTS = {
    "x.csv": "a,b\n" + '1,"x\ny"\n\n2,\n' * 700,
    "x.tsv": "a\tb\n" + "1\té\x0b\u2028\n" * 1300,
    "x.jsonl": '{"a": "\u2028é", "b": NaN}\n\n' * 700,
    "x.json": "[" + ' {"a": [1, {}],\n "b": "é"} ,' * 1300 + '{"b": "\\ud83d\\ude00"}]\n',
    "keyed.json": "{\n" + ",".join(f'"k{n}": {{"a": {n}}}' for n in range(1300)) + "}",
}


@pytest.mark.parametrize("name", CONTENTS)
@pytest.mark.parametrize("chunk", [1, 7, 2**20])
def test_records_read_at_once_one_by_one_and_again_are_the_same(
    name: str, chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import harness.json_window

    for module in (reading, harness.json_window):
        monkeypatch.setattr(module, "CHUNK", chunk)
    (tmp_path / name).write_text(CONTENTS[name], newline="")
    records = open_records(tmp_path / name)
    first = list(records)
    assert list(records) == first and len(records) == len(first) > compact.BLOCK
    for index in (0, 511, 512, 699, len(first) - 1, -1):
        assert records[index] == first[index]
        assert records.place(index % len(first)) == first[index].place
    assert open_records(tmp_path / name)[600] == first[600]
    assert records[3:9:2] == first[3:9:2]
    with pytest.raises(IndexError):
        records[len(first)]
    if name.endswith(".json") and name != "keyed.json":
        plain = json.loads(CONTENTS[name])
        assert [each.fields for each in first] == plain


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('[{"a": 1} {"a": 2}]', "line 1: no valid JSON (Expecting ',' delimiter)"),
        ('[{"a": 1},\n]', "line 2: no valid JSON (Expecting value)"),
        ('[{"a": 1}]\n x', "line 2: no valid JSON (Extra data)"),
        ('[{"a": 1}}', "line 1: no valid JSON"),
        ('{\n"a": {}]', "line 2: no valid JSON"),
        ('[{"a": tru}, {"a": 1}]' + " " * 500, "line 1: no valid JSON (Expecting value)"),
        ('[\n\n{"a": "', "line 3: no valid JSON (Unterminated"),
        (b'[{"a": 1},\n{"a": "\xff"}]', "line 2: no UTF-8"),
    ],
)
@pytest.mark.parametrize("chunk", [3, 2**20])
def test_a_malformed_list_names_its_line(
    content: str | bytes, said: str, chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import harness.json_window

    for module in (reading, harness.json_window):
        monkeypatch.setattr(module, "CHUNK", chunk)
    path = tmp_path / "x.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as error:
        read_records(path)
    assert str(error.value).startswith(f"x.json {said}"), error.value


@pytest.mark.parametrize("name", ["x.jsonl", "x.csv", "x.json"])
def test_a_file_takes_at_most_twice_its_size(name: str, tmp_path: Path) -> None:
    count = 100_000
    rows = [f'{{"a": {number}, "b": "x"}}' for number in range(count)]
    text = {"x.jsonl": "\n".join(rows), "x.json": f"[{', '.join(rows)}]"}
    text["x.csv"] = "a,b\n" + "".join(f'{number},"text {number}"\n' for number in range(count))
    path = tmp_path / name
    path.write_text(text[name])
    size = path.stat().st_size
    del rows, text
    tracemalloc.start()
    try:
        rows_read = open_dataset(str(path)).rows()
        assert len(rows_read) == count
        kept, _ = tracemalloc.get_traced_memory()
        assert kept < 2 * size
        assert sum(1 for _ in rows_read) == count
        _, peak = tracemalloc.get_traced_memory()
        assert peak < 2 * size + 5 * 2**20  # what is read at once, and a block of rows
    finally:
        tracemalloc.stop()


def arrays_and_tables(folder: Path, name: str, count: int) -> Path:
    """A file of numbers and texts that is not compressed."""
    numbers = np.arange(count, dtype=np.float32)
    texts = [f"text {number} of a row" for number in range(count)]
    path = folder / name
    if name == "x.parquet":
        table = pyarrow.table({"a": numbers, "b": texts})
        plain: dict[str, Any] = {"compression": "none", "use_dictionary": False}
        pyarrow.parquet.write_table(table, path, row_group_size=7000, **plain)
    elif name == "x.npz":
        np.savez(path, a=numbers, b=np.array(texts, dtype="S"))
    else:
        with h5py.File(path, "w") as file:
            file["a"], file["b"] = numbers, np.array(texts, dtype="S")
    return path


@pytest.mark.parametrize("name", ["x.parquet", "x.npz", "x.h5"])
def test_arrays_and_tables_take_at_most_twice_their_size(name: str, tmp_path: Path) -> None:
    count = 60_000
    path = arrays_and_tables(tmp_path, name, count)
    size = path.stat().st_size
    before = pyarrow.total_allocated_bytes()
    tracemalloc.start()
    try:
        rows_read = open_dataset(str(path)).rows()
        assert len(rows_read) == sum(1 for _ in rows_read) == count
        _, peak = tracemalloc.get_traced_memory()
        kept = peak + pyarrow.total_allocated_bytes() - before
        assert kept < 2 * size + 5 * 2**20  # a block of rows beside them
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["x.parquet", "x.npz", "x.h5"])
def test_rows_that_are_made_again_are_the_same(name: str, tmp_path: Path) -> None:
    records = open_records(arrays_and_tables(tmp_path, name, 15_000))
    first = list(records)
    assert list(records) == first and len(records) == len(first) == 15_000
    assert first[7000].fields == {"a": 7000.0, "b": "text 7000 of a row"}
    for index in (0, 511, 512, 6999, 7000, 14_999, -1):
        assert records[index] == first[index]
        assert records.place(index % len(first)) == first[index].place
    assert records[6998:7003] == first[6998:7003]
    with pytest.raises(IndexError):
        records[len(first)]


@pytest.mark.parametrize("seeds", ["1000000000", 10_001, list(range(10_001))])
def test_more_than_ten_thousand_seeds_are_refused(seeds: Any) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(HarnessError, match="seeds"):
            run_config({"method": "base", "tasks": "pope", "seeds": seeds})
        assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
    finally:
        tracemalloc.stop()
    assert len(run_config({"method": "base", "tasks": "pope", "seeds": 10_000}).seeds) == 10_000
