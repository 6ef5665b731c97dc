"""Entries spliced into a leaderboard's text: the same bytes as writing it anew."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from builders import entry
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import leaderboard
from harness.board_text import BoardText
from harness.errors import HarnessError
from harness.leaderboard import Board
from harness.schema import Entry

NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=6)
HARD = st.sampled_from(['a"', "a\\", "é", "\U0001f600", "\uffff", "zz", '"', "a b", '\n    "x'])


def board(entries: list[Entry]) -> Board:
    return Board("pope", True, {each.place: each for each in entries})


def text_of(entries: list[Entry]) -> BoardText:
    made = board(entries)
    return BoardText(leaderboard.dump(made).encode(), *leaderboard.frame(made))


@settings(max_examples=60, deadline=None)
@given(st.lists(NAMES | HARD, min_size=1, max_size=8), st.data())
def test_recording_is_writing_the_whole_board(
    tmp_path_factory: pytest.TempPathFactory, models: list[str], data: st.DataObject
) -> None:
    root = tmp_path_factory.mktemp("root")
    kept: dict[str, Entry] = {}
    for model in models + data.draw(st.lists(st.sampled_from(models), max_size=4)):
        made = entry([1, 0, data.draw(st.integers(0, 1))], model=model)
        outcome = leaderboard.record(root, made)
        old = kept.get(made.place)
        same = old is not None and old.items == made.items
        assert outcome == ("added" if old is None else "unchanged" if same else "changed")
        kept[made.place] = made
        written = (root / "lab" / "pope.json").read_bytes()
        assert written == leaderboard.dump(board(list(kept.values()))).encode()


@settings(max_examples=60, deadline=None)
@given(st.lists(NAMES | HARD, min_size=1, max_size=9, unique=True))
def test_every_entry_is_found_and_no_other(models: list[str]) -> None:
    entries = sorted((entry(model=model) for model in models), key=lambda each: each.place)
    text = text_of(entries)
    assert [place for place, _ in text.entries()] == [each.place for each in entries]
    for each, (_, where) in zip(entries, text.entries(), strict=True):
        found = text.find(each.place)
        assert found == where
        assert Entry.model_validate(json.loads(text.entry(found))).place == each.place
    assert not text.find("aspo").found
    assert not text.find("zzz").found


ENTRIES = [entry(model=f"m{i}") for i in range(4)]


@pytest.mark.parametrize(
    "change",
    {
        "another layout": lambda text: json.dumps(json.loads(text)),
        "another indent": lambda text: json.dumps(json.loads(text), indent=4),
        "another task": lambda text: text.replace('"task": "pope"\n}', '"task": "mmbench"\n}'),
        "cut": lambda text: text[: len(text) // 2],
        "cut at the end": lambda text: text[:-1],
        "more at the end": lambda text: text + "\n",
        "a merge conflict": lambda text: text.replace("\n    }", "\n<<<<<<< ours\n    }", 1),
        "a newer schema": lambda text: text.replace('"schema": 1', '"schema": 2'),
        "empty": lambda text: "",
        "windows' line breaks": lambda text: text.replace("\n", "\r\n"),
    }.items(),
    ids=lambda pair: pair[0],
)
def test_other_texts_are_read_as_a_whole(tmp_path: Path, change: tuple[str, object]) -> None:
    """Refused with nothing lost, or put into canonical form."""
    made = board(ENTRIES)
    path = tmp_path / "lab" / "pope.json"
    path.parent.mkdir()
    assert callable(change[1])
    path.write_bytes(change[1](leaderboard.dump(made)).encode())
    assert leaderboard.canonical(path, made) is None
    before = path.read_bytes()
    try:
        assert leaderboard.record(tmp_path, entry(model="new")) == "added"
    except HarnessError:
        assert path.read_bytes() == before
    else:
        assert len(leaderboard.read(path).entries) == 5


def test_places_out_of_order_are_noticed_where_all_are_read(tmp_path: Path) -> None:
    made = board(ENTRIES)
    text = leaderboard.dump(made).replace('"aspo lab/scenes-pairs', '"aspo', 0)
    swapped = text.replace("aspo m0 ", "aspo m9 ", 1).encode()
    found = BoardText(swapped, *leaderboard.frame(made))
    with pytest.raises(ValueError, match="not in order"):
        list(found.entries())


def test_boards_have_locks_of_their_own(tmp_path: Path) -> None:
    """One that is held by another writer does not keep this one waiting."""
    from harness.files import lock

    with lock(tmp_path / "lab" / ".pope.json.lock"):
        assert leaderboard.record(tmp_path, entry(task="mmbench")) == "added"


def test_what_a_live_writer_of_another_board_has_begun_stays(tmp_path: Path) -> None:
    from harness.files import lock

    begun = tmp_path / "lab" / ".pope.json.0123456789ab.tmp"
    begun.parent.mkdir()
    begun.touch()
    with lock(tmp_path / "lab" / ".pope.json.lock"):
        leaderboard.record(tmp_path, entry(task="mmbench"))
        assert begun.exists()
    leaderboard.record(tmp_path, entry(task="shr"))
    assert not begun.exists()


def test_recording_does_not_take_the_memory_of_the_board(tmp_path: Path) -> None:
    """A process that records into 60 MB peaks as one that records into an empty folder does."""
    one = leaderboard.dump(board([entry(model="m")]))
    head, _, rest = one.partition('    "aspo m ')
    body, _, tail = rest.partition("\n  },\n")
    many = ",\n".join(
        f'    "aspo m{i:06d} {body.replace(chr(34) + "m" + chr(34), f"{chr(34)}m{i:06d}{chr(34)}")}'
        for i in range(30_000)
    )
    path = tmp_path / "big" / "lab" / "pope.json"
    path.parent.mkdir(parents=True)
    path.write_text(f"{head}{many}\n  }},\n{tail}")
    peaks = []
    for name in ("empty", "big"):
        code = (
            "import resource, sys; from pathlib import Path; from builders import entry;"
            "from harness import leaderboard;"
            f"leaderboard.record(Path({str(tmp_path / name)!r}), entry(model='m015000x'));"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        )
        path_of_tests = str(Path(__file__).parents[1])
        done = subprocess.run(
            [sys.executable, "-c", code],
            check=True,
            capture_output=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, path_of_tests])},
        )
        peaks.append(int(done.stdout))
    assert peaks[1] - peaks[0] < 20_000
