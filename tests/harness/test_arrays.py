"""Files of arrays: rows of HDF5 and npz, pictures that stay in the file, what is refused."""

import builtins
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from harness import arrays
from harness.errors import DataError, HarnessError
from harness.items import fingerprint_rows
from harness.models.pictures import StoredPicture, open_picture, picture_key
from harness.records import read_records
from harness.sources import open_dataset, pictured

h5py = pytest.importorskip("h5py")

KINDS = ("x.h5", "x.hdf5", "x.npz")


def write(path: Path, columns: Mapping[str, Any]) -> Path:
    if path.suffix == ".npz":
        np.savez_compressed(path, **columns)
        return path
    with h5py.File(path, "w") as file:
        for name, values in columns.items():
            file[name] = values
    return path


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)


@pytest.mark.parametrize("name", KINDS)
def test_an_entry_of_every_array_is_a_row(name: str, tmp_path: Path) -> None:
    columns = {
        "text": np.array([[b"caf\xe9"], ["café".encode()], [b""]]),
        "number": np.array([[7], [8], [9]]),
        "price": np.array([1.5, float("nan"), 2.0]),
        "vector": np.array([[1, 2], [3, 4], [5, 6]]),
    }
    dataset = open_dataset(str(write(tmp_path / name, columns)))
    rows = dataset.rows()
    assert [row["text"] for row in rows] == ["café", "café", ""]
    assert [row["number"] for row in rows] == [7, 8, 9]
    assert [row["vector"] for row in rows] == [[1, 2], [3, 4], [5, 6]]
    assert rows[0]["price"] == 1.5 and rows[1]["price"] != rows[1]["price"]
    assert {type(rows[0][key]) for key in ("text", "number", "price")} == {str, int, float}
    assert dataset.place(None, 2) == f"{name} row 3"


def test_texts_of_either_kind_and_the_names_of_codes(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["title"] = ["rot", "grün"]
        file["class_names"] = ["a", "b", "c"]
    write(tmp_path / "x.npz", {"title": np.array(["rot", "grün"]), "class_names": np.zeros(3)})
    for name in ("x.h5", "x.npz"):
        assert [r.fields for r in read_records(tmp_path / name)] == [
            {"title": "rot"},
            {"title": "grün"},
        ]


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("shape", [(3, 5, 4, 3), (3, 5, 4, 1), (3, 5, 4)])
def test_a_picture_is_what_the_array_says(
    name: str, shape: tuple[int, ...], tmp_path: Path
) -> None:
    pixels = noise(*shape)
    (_, second, _) = open_dataset(str(write(tmp_path / name, {"image": pixels}))).rows()
    assert isinstance(second["image"], StoredPicture)
    expected = np.broadcast_to(pixels[1].reshape(5, 4, -1), (5, 4, 3))
    assert np.array_equal(np.asarray(open_picture(second["image"])), expected)
    same = Image.fromarray(np.ascontiguousarray(expected))
    assert picture_key(second["image"]) == picture_key(same)
    assert second["image"].place == f"{name} row 2"


def test_pictures_are_read_one_at_a_time_and_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "x.h5", {"image": noise(9, 8, 8, 3), "id": np.arange(9)})
    asked: list[Any] = []
    plain = h5py.Dataset.__getitem__

    def told(array: Any, key: Any, *rest: Any) -> Any:
        asked.append((array.name, key))
        return plain(array, key, *rest)

    monkeypatch.setattr(h5py.Dataset, "__getitem__", told)
    rows = list(open_dataset(str(path)).rows())
    assert {name for name, _ in asked} == {"/id"}
    asked.clear()
    for _ in range(2):
        open_picture(rows[4]["image"])
    assert asked == [("/image", 4), ("/image", 4)]


@settings(max_examples=15, deadline=None)
@given(total=st.integers(1, 9), block=st.integers(1, 4))
def test_blocks_change_nothing(
    total: int, block: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = write(tmp_path_factory.mktemp("arrays") / "x.npz", {"id": np.arange(total)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays, "BLOCK", block)
        found = read_records(path)
    assert [record.fields["id"] for record in found] == list(range(total))
    assert [record.place for record in found] == [f"x.npz row {i + 1}" for i in range(total)]


def test_a_fingerprint_sees_the_pixels(tmp_path: Path) -> None:
    marks = set()
    for number, pixels in enumerate(
        (noise(2, 4, 4, 3), noise(2, 4, 4, 3), 255 - noise(2, 4, 4, 3))
    ):
        path = write(tmp_path / f"{number}.h5", {"image": pixels})
        marks.add(fingerprint_rows(open_dataset(str(path)).rows()))
    assert len(marks) == 2


def test_a_file_that_was_written_anew_is_read_anew(tmp_path: Path) -> None:
    for total in (2, 3):
        path = write(tmp_path / "x.npz", {"id": np.arange(total)})
        assert len(read_records(path)) == total


def test_a_picture_under_another_name(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / "x.jsonl").write_text(
        '{"photo": "a.png", "image": "b.png"}\n{"photo": "", "image": "b.png"}\n'
    )
    first, second = pictured(open_dataset(str(tmp_path / "x.jsonl")), None, "photo")
    assert first["image"] == tmp_path / "a.png" and "photo" not in first
    assert "image" not in second and second["photo"] == ""
    path = write(tmp_path / "x.h5", {"photo": noise(1, 4, 4, 3)})
    (row,) = pictured(open_dataset(str(path)), None, "photo")
    assert isinstance(row["image"], StoredPicture)


UNEQUAL = {"a": np.zeros(3), "b": np.zeros(4)}
WRONG: dict[str, tuple[Mapping[str, Any], str]] = {
    "different lengths": (UNEQUAL, "'a' has 3 entries and 'b' 4: all arrays must be of one"),
    "no array": ({}, "has no array."),
    "one value": ({"a": np.float64(1)}, "'a' is one value, not an array"),
    "no row": ({"a": np.zeros(0)}, "is empty, it has no record."),
    "no pictures": ({"a": np.zeros((2, 4, 4, 3))}, "an entry of 'a' is 4 x 4 x 3 of float64"),
    "no pixels": ({"a": noise(2, 0, 4, 3)}, "an entry of 'a' is 0 x 4 x 3 of uint8"),
}


def refused(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        list(open_dataset(str(path)).rows())
    message = str(caught.value)
    assert message.startswith(path.name) and "\n" not in message
    return message


@pytest.mark.parametrize("name", ["x.h5", "x.npz"])
@pytest.mark.parametrize("case", WRONG)
def test_arrays_that_are_no_rows_are_one_line(case: str, name: str, tmp_path: Path) -> None:
    columns, message = WRONG[case]
    assert message in refused(write(tmp_path / name, columns))


@pytest.mark.parametrize("name", ["x.h5", "x.npz"])
def test_a_damaged_file_is_one_line(name: str, tmp_path: Path) -> None:
    whole = write(tmp_path / name, {"a": noise(400, 40)}).read_bytes()
    kind = "npz" if name.endswith("npz") else "HDF5"
    for content in (whole[: len(whole) // 2], whole[:20], b"", b"no arrays at all, but text"):
        path = tmp_path / f"cut{len(content)}{Path(name).suffix}"
        path.write_bytes(content)
        assert f"cannot be read as {kind}" in refused(path)
    if kind == "HDF5":
        assert "cut off" in refused(tmp_path / f"cut{len(whole) // 2}.h5")


def test_groups_objects_and_lone_arrays_are_one_line(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "group.h5", "w") as file:
        file["train/title"] = ["a"]
    assert "'train' is a group: put its arrays at the top" in refused(tmp_path / "group.h5")
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["title"] = h5py.SoftLink("/nowhere")
    assert "cannot be read as HDF5" in refused(tmp_path / "link.h5")
    np.savez(tmp_path / "objects.npz", a=np.array([{}], dtype=object))
    assert "cannot be read as npz" in refused(tmp_path / "objects.npz")
    np.save(tmp_path / "lone.npy", np.zeros(3))
    (tmp_path / "lone.npy").rename(tmp_path / "lone.npz")
    assert "one array without a name" in refused(tmp_path / "lone.npz")
    with zipfile.ZipFile(tmp_path / "zip.npz", "w") as file:
        file.writestr("a.txt", "hello")
    assert "cannot be read as npz" in refused(tmp_path / "zip.npz")


def test_a_picture_whose_data_is_damaged_is_one_line_with_its_row(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("image", data=noise(2, 40, 40, 3), chunks=(1, 40, 40, 3), compression=9)
        place = file["image"].id.get_chunk_info(1).byte_offset
    content = bytearray(path.read_bytes())
    content[place : place + 200] = bytes(200)
    path.write_bytes(bytes(content))
    first, second = open_dataset(str(path)).rows()
    open_picture(first["image"])
    with pytest.raises(DataError, match=r"^x\.h5 row 2: cannot be read as a picture \(.*\)\.$"):
        open_picture(second["image"])


def test_without_h5py_the_message_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "x.h5", {"a": np.zeros(2)})
    plain = builtins.__import__

    def missing(name: str, *rest: Any, **more: Any) -> Any:
        if name == "h5py":
            raise ImportError(name)
        return plain(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(
        HarnessError, match=r"x\.h5: HDF5 needs h5py: .*'harness\[hdf5\]'"
    ) as caught:
        open_dataset(str(path)).rows()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["x.npz", "x.h5"])
def test_rows_of_a_file_that_was_replaced_are_not_given_for_those_that_were_checked(
    name: str, tmp_path: Path
) -> None:
    path = write(tmp_path / name, {"id": np.arange(9)})
    rows = open_dataset(str(path)).rows()
    assert len(rows) == 9
    other = write(tmp_path / f"other{path.suffix}", {"id": np.arange(9) + 100})
    other.replace(path)
    with pytest.raises(DataError, match="was replaced or changed while it was used"):
        list(rows)
