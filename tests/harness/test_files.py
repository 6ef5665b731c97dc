import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import files
from harness.errors import DataError, HarnessError


def test_atomic_write_replaces_and_leaves_no_other_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.json"
    files.write_atomic(path, "first")
    files.write_atomic(path, b"second")
    assert path.read_bytes() == b"second"
    assert [p.name for p in path.parent.iterdir()] == ["a.json"]


def test_written_file_has_the_usual_mode(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    files.write_atomic(tmp_path / "a", "x")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    files.write_atomic(path, "old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(HarnessError, match=r"a\.json: cannot be written \(No space left") as caught:
        files.write_atomic(path, "new")
    assert "\n" not in str(caught.value)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_really_full_device_is_a_one_line_error(tmp_path: Path) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full")
    (tmp_path / "log").symlink_to("/dev/full")
    with pytest.raises(HarnessError, match="cannot be written"):
        files.append_line(tmp_path / "log", "x" * 100_000)


def test_write_follows_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    files.write_atomic(tmp_path / "link", "new")
    assert (tmp_path / "real").read_text() == "new"
    assert (tmp_path / "link").is_symlink()


def test_lock_excludes_another_process_and_ends_with_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    code = (
        "import sys, time, pathlib; from harness.files import lock\n"
        "with lock(pathlib.Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    with (
        pytest.raises(HarnessError, match="another process has held this lock"),
        files.lock(path, timeout=0.2),
    ):
        pass
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with files.lock(path, timeout=5):
        pass


def test_hash_depends_on_names_and_contents_only(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / "sub" / "w.bin").write_bytes(b"\0" * 3_000_000)
        (tmp_path / name / "config.json").write_text("{}")
    one, two = tmp_path / "one", tmp_path / "two"
    os.utime(two / "config.json", (0, 0))
    (two / ".cache").mkdir()
    (two / ".cache" / "note").write_text("hidden")
    assert files.hash_files(one) == files.hash_files(two)
    pair = [one / "config.json", one / "sub" / "w.bin"]
    assert files.hash_files(pair) == files.hash_files(pair[::-1])
    (two / "config.json").rename(two / "other.json")
    assert files.hash_files(one) != files.hash_files(two)
    (two / "other.json").rename(two / "config.json")
    (two / "sub" / "w.bin").write_bytes(b"\0" * 2_999_999 + b"\1")
    assert files.hash_files(one) != files.hash_files(two)


def test_hash_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert files.hash_file(tmp_path / "a") == "ba7816bf8f01cfea"


def test_missing_inputs_are_user_errors(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="cannot be read"):
        files.hash_file(tmp_path / "nothing")
    with pytest.raises(HarnessError, match="no such folder"):
        files.hash_files(tmp_path / "nothing")
    assert files.read_lines_tolerant(tmp_path / "nothing") == []


@given(done=st.integers(0, 4), cut=st.integers(0, 12))
def test_line_of_a_killed_writer_is_dropped_and_overwritten(
    tmp_path_factory: pytest.TempPathFactory, done: int, cut: int
) -> None:
    path = tmp_path_factory.mktemp("lines") / "rows.jsonl"
    for number in range(done):
        files.append_line(path, f'{{"id": {number}}}')
    with open(path, "ab") as file:
        file.write(b'{"id": "\xc3\xa9"}'[:cut])
    expected = [{"id": number} for number in range(done)]
    assert files.read_lines_tolerant(path) == expected
    files.append_line(path, '{"id": "é"}')
    assert files.read_lines_tolerant(path) == [*expected, {"id": "é"}]


def test_long_partial_line_is_cut_whole(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"1\n" + b"x" * 200_000)
    files.append_line(path, "2")
    assert path.read_bytes() == b"1\n2\n"


@pytest.mark.parametrize("damage", [b"{oops}\n", b"\xff\xfe\n", b"\n"])
def test_damage_in_the_middle_names_the_line(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"1\n" + damage + b"3\n")
    with pytest.raises(DataError, match=r"rows\.jsonl line 2: not JSON"):
        files.read_lines_tolerant(path)
