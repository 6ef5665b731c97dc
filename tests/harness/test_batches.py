"""Batches that memory has no room for: halved, said, and with the same answers."""

import json

import launch
import pytest
import torch
from paper_user import guessing_llava

import harness
from harness.errors import HarnessError
from harness.models import batches
from harness.models.batches import in_batches, with_room
from harness.seals import read_rows


class Reader:
    """A model that has room for so many rows."""

    def __init__(self, room: int, batch_size: int = 64, error: str = "CUDA out of memory.") -> None:
        self.batch_size, self.room, self.error = batch_size, room, error
        self.read: list[int] = []
        self.sizes: list[int] = []

    def __call__(self, some) -> None:
        torch.rand(3)
        if len(some) > self.room:
            raise torch.OutOfMemoryError(self.error)
        self.read += some
        self.sizes.append(len(some))


@pytest.mark.parametrize("room", [1, 5, 16, 40, 100])
def test_every_item_is_read_once_in_order_whatever_the_room(room, capsys):
    reader = Reader(room)
    in_batches(reader, range(100), reader)
    assert reader.read == list(range(100))
    assert max(reader.sizes) <= room and reader.batch_size == {1: 1, 5: 4, 16: 16, 40: 32}.get(
        room, 64
    )
    halvings = capsys.readouterr().err.splitlines()
    expected = [64, 32, 16, 8, 4, 2][: {1: 6, 5: 4, 16: 2, 40: 1, 100: 0}[room]]
    assert halvings == [
        f"out of memory with {size} at once: going on with {size // 2}." for size in expected
    ]


def test_one_item_that_is_too_much_is_one_line():
    reader = Reader(0, 4)
    with pytest.raises(HarnessError, match=r"^out of memory with one text or picture at a time"):
        in_batches(reader, range(9), reader)
    with pytest.raises(HarnessError, match=r"^out of memory with one text"):
        with_room(reader, lambda size: reader(range(size)))


def test_a_failed_batch_leaves_the_random_numbers_as_they_were():
    torch.manual_seed(3)
    expected = torch.rand(6)[3:]
    torch.manual_seed(3)
    reader = Reader(2, 4)
    assert not batches.fits(reader, range(4))
    assert batches.fits(reader, range(2))
    assert torch.equal(torch.rand(3), expected)


def test_another_error_is_not_taken_for_a_lack_of_memory():
    reader = Reader(0, error="shapes do not match")
    with pytest.raises(RuntimeError, match="shapes do not match"):
        in_batches(reader, range(3), reader)


def test_samples_of_an_item_count_as_rows():
    reader = Reader(3, batch_size=64)
    in_batches(reader, range(10), reader, each=16)
    assert reader.sizes == [2] * 5 and reader.batch_size == 32


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = launch.little_world(tmp_path_factory.mktemp("world") / "data", 12, 24)
    guessing_llava(folder / "model")
    return folder


def scored(world, folder, **more):
    """The base model's entry on POPE, its answers, and what was noted of the run."""
    (entry,) = harness.run(
        method="base",
        tasks="pope",
        model=str(world / "model"),
        source={"pope": str(world / "pope.jsonl")},
        runs=folder / "runs",
        leaderboards=folder / "leaderboards",
        **more,
    )
    (timing,) = (folder / "runs").glob("base_pope-*/timing.json")
    (rows,) = (folder / "runs/store/predictions").glob("*/rows.jsonl")
    return entry, read_rows(rows), json.loads(timing.read_text())


def test_a_run_goes_on_with_smaller_batches_and_records_them(world, tmp_path, monkeypatch, capsys):
    """With a model whose `generate` raises out of memory above six rows."""
    from transformers import LlavaForConditionalGeneration as Llava

    whole, answers, timing = scored(world, tmp_path / "whole")
    assert timing["batch_sizes"] == {"score base pope": 64}
    generate = Llava.generate

    def short_of_memory(self, *arguments, **settings):
        if len(settings["input_ids"]) > 6:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return generate(self, *arguments, **settings)

    monkeypatch.setattr(Llava, "generate", short_of_memory)
    halved, same, timing = scored(world, tmp_path / "halved")
    assert timing["batch_sizes"] == {"score base pope": 6}
    assert "out of memory with 24 at once: going on with 12." in capsys.readouterr().err
    assert same == answers
    assert halved.result() == whole.result() and halved.place == whole.place
    asked, same, timing = scored(world, tmp_path / "asked", batch_size=5)
    assert timing["batch_sizes"] == {"score base pope": 5}
    assert same == answers and asked.place == whole.place
    assert "--batch-size 5" in asked.provenance.command
