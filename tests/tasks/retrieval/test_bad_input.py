"""What is wrong with a catalogue is one line with the place and the fix, before any model runs."""

import base64
import json
import logging
import resource
import warnings
from pathlib import Path
from typing import Any

import launch
import pytest
import torch
from PIL import Image
from tiny_clip import tiny_clip

import harness
from harness import registry, scoring
from harness.errors import DataError
from harness.items import fingerprint, read_items
from harness.sources import open_dataset
from harness.task import Item
from tasks.retrieval.format import FullRanking

TASK = "fashion_catalog"


def write(folder: Path, rows: list[dict[str, Any]], name: str = "catalogue.jsonl") -> Path:
    """A catalogue with a picture for each row, in `images/`."""
    (folder / "images").mkdir(exist_ok=True)
    for row in rows:
        picture = f"{row['id']}.png"
        if "image" not in row:
            Image.new("RGB", (40, 40), (len(picture) * 20, 90, 200)).save(
                folder / "images" / picture
            )
            row["image"] = picture
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def shirts(count: int) -> list[dict[str, Any]]:
    return [{"id": f"s{i}", "title": f"shirt {i}"} for i in range(count)]


def task(**options: Any) -> FullRanking:
    card = registry.load("tasks", TASK).card
    return FullRanking(card.model_copy(update={"options": {**card.options, **options}}))


def read(spec: Path, **options: Any) -> list[Item]:
    return read_items(task(**options), open_dataset(str(spec)))


def refused(spec: Path, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(spec, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def cut(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


BROKEN = {
    "cut off": lambda path: cut(path),
    "no picture": lambda path: path.write_bytes(b"a page about a shirt"),
    "empty": lambda path: path.write_bytes(b""),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_picture_is_named_with_its_row(case: str, tmp_path: Path) -> None:
    spec = write(tmp_path, shirts(3))
    picture = tmp_path / "images" / "s1.png"
    BROKEN[case](picture)
    message = refused(spec)
    assert message.startswith("catalogue.jsonl line 2: ") and "s1.png" in message


def test_a_picture_that_is_not_there_and_a_broken_embedded_one_are_named(tmp_path: Path) -> None:
    spec = write(tmp_path, shirts(3))
    (tmp_path / "images" / "s2.png").unlink()
    message = refused(spec)
    assert message.startswith("catalogue.jsonl line 3: ") and "s2.png: no such picture" in message
    content = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(100)).decode()
    spec = write(tmp_path, [{"id": "x", "title": "t", "image": content}], "embedded.jsonl")
    message = refused(spec)
    assert message.startswith("embedded.jsonl line 1: cannot be read as a picture")
    assert message.count("embedded.jsonl") == 1


def test_a_limit_looks_at_no_picture_behind_it(tmp_path: Path) -> None:
    spec = write(tmp_path, shirts(3))
    cut(tmp_path / "images" / "s2.png")
    assert len(read_items(task(), open_dataset(str(spec)), limit=4)) == 4


def test_broken_pictures_are_left_out_and_counted_where_asked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [
        {"product": f"p{i // 2}", **row, "title": f"shirt {i // 2}"}
        for i, row in enumerate(shirts(6))
    ]
    spec = write(tmp_path, rows)
    whole = fingerprint(read(spec, skip_broken=True))
    assert not caplog.records
    cut(tmp_path / "images" / "s0.png")  # the first view of a title whose second is whole
    for name in ("s4", "s5"):  # all views of a title: nothing is left to look for
        (tmp_path / "images" / f"{name}.png").unlink()
    with caplog.at_level(logging.WARNING):
        items = read(spec, skip_broken=True)
    (record,) = caplog.records
    assert record.getMessage().startswith(
        "left out 3 with broken pictures, the first: catalogue.jsonl line 1: "
    )
    asked = [item.id for item in items if "broken" not in item.inputs]
    assert asked == ["s1", "title of s1", "s2", "title of s2", "s3"]
    assert fingerprint(items) != whole

    class Same:
        def encode_images(self, images: Any) -> torch.Tensor:
            return torch.ones(len(images), 1)

        encode_texts = encode_images

    ranking = task(skip_broken=True)
    predictions = ranking.predict(Same(), items)
    scores = scoring.scores(ranking, items, predictions)
    metrics = ranking.aggregate(items, predictions, scores)
    assert (metrics["skipped"].value, metrics["skipped"].low, metrics["skipped"].n) == (3, None, 6)
    assert metrics["i2t_r1"].n == 3 and metrics["t2i_r1"].n == 2


def test_where_every_picture_is_broken_there_is_nothing_to_ask(tmp_path: Path) -> None:
    spec = write(tmp_path, shirts(2))
    for name in ("s0", "s1"):
        cut(tmp_path / "images" / f"{name}.png")
    message = refused(spec, skip_broken=True)
    assert message.startswith("none of 2 pictures can be read, the first: catalogue.jsonl line 1:")


def test_the_command_says_on_stderr_what_was_left_out(tmp_path: Path) -> None:
    model = tiny_clip(tmp_path / "clip", "shirt")
    spec = write(tmp_path, shirts(4))
    cut(tmp_path / "images" / "s2.png")
    words = ["run", "--profile", "paper", "--method", "base", "--model", model]
    words += ["--tasks", TASK, "--source", f"{TASK}={spec}", "--option", f"{TASK}.skip_broken=true"]
    told = launch.run(words, tmp_path)
    assert told.status == 0, told.stderr
    (line,) = told.stderr.splitlines()
    assert line.startswith("left out 1 with broken pictures, the first: catalogue.jsonl line 3:")
    (board,) = (tmp_path / "leaderboards").glob("*.json")
    (entry,) = json.loads(board.read_text())["entries"].values()
    assert entry["metrics"]["skipped"]["value"] == 1 and entry["metrics"]["skipped"]["n"] == 4


def test_a_picture_of_one_pixel_is_a_picture(tmp_path: Path) -> None:
    rows = shirts(3)
    spec = write(tmp_path, rows)
    Image.new("RGB", (1, 1)).save(tmp_path / "images" / "s1.png")
    (entry,) = harness.run(
        profile="paper",
        method="base",
        model=str(tiny_clip(tmp_path / "clip", "shirt")),
        tasks=TASK,
        source={TASK: str(spec)},
        runs=tmp_path / "runs",
        leaderboards=tmp_path / "boards",
    )
    assert entry.metrics["i2t_r1"].n == 3


def test_a_strip_is_one_line_and_not_blown_up(tmp_path: Path) -> None:
    spec = write(tmp_path, shirts(2))
    Image.new("RGB", (1, 20_000)).save(tmp_path / "images" / "s1.png")
    assert refused(spec).endswith("s1.png: 1 x 20000 pixels are a strip, no picture: cut it.")


@pytest.mark.parametrize("side", [10_000, 20_000])
def test_a_huge_picture_is_one_line_and_never_decoded(side: int, tmp_path: Path) -> None:
    spec = write(tmp_path, shirts(2))
    Image.new("1", (side, side)).save(tmp_path / "images" / "s1.png")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        message = refused(spec)
    assert not heard
    assert message.startswith("catalogue.jsonl line 2: ")
    assert f"too large a picture (Image size ({side**2} pixels)" in message
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 50 * 1024, "KiB; one byte a pixel would be twice that and more"


def test_a_table_without_pictures_names_the_column(tmp_path: Path) -> None:
    table = tmp_path / "catalogue.csv"
    table.write_text("id,title\n1,red shirt\n")
    message = refused(table)
    assert message.startswith("catalogue.csv line 2: there is no 'image'. It has: file, id, title")
    table.write_text("id,title,imge\n1,red shirt,a.png\n")
    assert "there is no 'image'. Did you mean 'imge'?" in refused(table)
    table.write_text("id,title,image\n1,red shirt,a.png\n")
    assert "there is no 'image' or 'photo'." in refused(table, image="photo")


def test_an_empty_title_and_an_id_that_stands_twice(tmp_path: Path) -> None:
    rows = shirts(3)
    rows[2]["title"] = " "
    assert refused(write(tmp_path, rows)) == "catalogue.jsonl line 3: 'title' is empty."
    rows[2] |= {"title": "a shirt", "id": "s0"}
    message = refused(write(tmp_path, rows))
    assert message == "catalogue.jsonl line 3: id 's0' stands at catalogue.jsonl line 1 already."


@pytest.mark.parametrize("field", ["product", "id"])
def test_a_product_in_two_splits_is_one_line_with_both_places(field: str, tmp_path: Path) -> None:
    train = [{"id": f"a{i}", "title": "t", "product": f"a{i}"} for i in range(3)]
    test = [{"id": f"b{i}", "title": "t", "product": f"b{i}"} for i in range(3)]
    for index, rows in enumerate((train, test)):
        folder = tmp_path / ("train", "test")[index]
        folder.mkdir()
        write(folder, rows, "rows.jsonl")
    assert len(read_items(task(), open_dataset(str(tmp_path)), "test")) == 4
    if field == "id":
        del test[1]["product"]
    test[1][field] = "a2"
    write(tmp_path / "test", test, "rows.jsonl")
    with pytest.raises(DataError) as caught:
        read_items(task(), open_dataset(str(tmp_path)), "test")
    assert str(caught.value) == (
        "rows.jsonl line 2: 'a2' stands at rows.jsonl line 3 already, in the split 'train': take "
        "it out of one of them."
    )


def test_files_named_after_splits_with_their_pictures_beside_them(tmp_path: Path) -> None:
    write(tmp_path, shirts(2), "train.jsonl")
    write(tmp_path, [{"id": "s1", "title": "t"}], "test.jsonl")
    with pytest.raises(DataError, match=r"^test\.jsonl line 1: 's1' stands at train\.jsonl line 2"):
        read_items(task(), open_dataset(str(tmp_path)), "test")
