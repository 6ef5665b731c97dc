"""Environments of engines: made by venv and pip, whole or not at all, once, and removed."""

import signal

import pytest
from engine_world import engine, gone, started, waited_for

from harness import engines
from harness.engines import Engine, NotInstalledError
from harness.errors import HarnessError


def test_remove_takes_all_environments_of_this_engine_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_HOME", str(tmp_path))
    assert engines.remove("echo") == []
    own, other = engine(tmp_path), engine(tmp_path, name="echo-two")
    places = [engines.install(each) for each in (own, other)]
    old = places[0].with_name("echo-0123456789abcdef")
    left = places[0].with_name(".echo-0123456789abcdef.building")
    for folder in (old, left):
        (folder / "bin").mkdir(parents=True)
    assert set(engines.remove("echo")) == {places[0], old, left}
    assert not engines.installed(own)
    assert engines.installed(other)
    assert {path.name for path in (tmp_path / "engines").iterdir()} == {
        *(".echo.lock", ".echo-two.lock", places[1].name, engines.install_log(other).name)
    }
    assert engines.remove("echo") == []
    assert engines.remove("../echo*") == []


def test_an_environment_whose_python_is_gone_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_HOME", str(tmp_path))
    place = engines.install(engine(tmp_path))
    python = place / "bin" / "python"
    python.unlink()
    python.symlink_to(tmp_path / "python-of-yesterday")
    assert not engines.installed(engine(tmp_path))
    assert engines.install(engine(tmp_path)) == place
    assert engines.call(engine(tmp_path), [{"n": 1}]) == [{"n": 1}]


def test_home_is_of_harness_or_of_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.delenv("HARNESS_HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert engines.home() == tmp_path / ".cache" / "harness" / "engines"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert engines.home() == tmp_path / "cache" / "harness" / "engines"
    monkeypatch.setenv("HARNESS_HOME", "~/elsewhere")
    assert engines.home() == tmp_path / "elsewhere" / "engines"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HARNESS_HOME", "here")
    assert engines.home() == tmp_path / "here" / "engines"


def test_a_home_that_is_no_folder_is_the_users_error(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("HARNESS_HOME", str(tmp_path / "file"))
    with pytest.raises(HarnessError, match="Not a directory"):
        engines.install(engine(tmp_path))
    assert engines.remove("echo") == []


BACKEND = '''"""Builds a wheel without any tool; waits, or fails, where a file beside says so."""
import os, pathlib, time, zipfile

HERE = pathlib.Path(__file__).parent


def build_wheel(folder, *_):
    with open(HERE / "built", "a") as file:
        print(os.getpid(), file=file)
    if (HERE / "fail").exists():
        raise RuntimeError("no compiler")
    while (HERE / "wait").exists():
        time.sleep(0.05)
    info = "answer-1.0.dist-info"
    metadata = "Metadata-Version: 2.1\\nName: answer\\nVersion: 1.0\\n"
    with zipfile.ZipFile(pathlib.Path(folder, "answer-1.0-py3-none-any.whl"), "w") as wheel:
        wheel.writestr("answer.py", "VALUE = 42\\n")
        wheel.writestr(f"{info}/METADATA", metadata)
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\n")
        wheel.writestr(f"{info}/RECORD", "")
    return "answer-1.0-py3-none-any.whl"
'''

PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "answer"
version = "1.0"
"""

ANSWER = "import answer, json\nprint(json.dumps({'value': answer.VALUE}))"

INSTALL = (
    "engine = engines.Engine('answer', '', '1', (sys.argv[1],), Path(sys.argv[2]))\n"
    "print(engines.install(engine))"
)


@pytest.fixture
def answer(tmp_path, monkeypatch):
    """An engine that requires a package, built from its source by pip without any network."""
    monkeypatch.setenv("HARNESS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    source = tmp_path / "source"
    source.mkdir()
    (source / "backend.py").write_text(BACKEND)
    (source / "pyproject.toml").write_text(PROJECT)
    requirement = f"answer @ {source.as_uri()}"
    return engine(tmp_path, ANSWER, name="answer", requirements=(requirement,))


def built(answer: Engine) -> list[int]:
    path = answer.script.parent / "source" / "built"
    return [int(line) for line in path.read_text().split()]


def test_a_killed_install_leaves_nothing_and_two_at_once_make_one(answer, tmp_path):
    source = tmp_path / "source"
    (source / "wait").touch()
    arguments = (INSTALL, answer.requirements[0], answer.script)
    killed = started(*arguments)
    waited_for(source / "built")
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=20)
    assert gone(built(answer)[0])
    assert not engines.installed(answer)
    with pytest.raises(NotInstalledError):
        engines.call(answer, [{}])

    (source / "wait").unlink()
    both = [started(*arguments) for _ in range(2)]
    assert [each.communicate(timeout=300)[1] for each in both] == ["", ""]
    assert len(built(answer)) == 2  # by the killed one, and by one of the two
    assert engines.call(answer, [{}]) == [{"value": 42}]
    place = engines.folder(answer)
    names = {place.name, engines.install_log(answer).name, ".answer.lock"}
    assert {path.name for path in place.parent.iterdir()} == names


def test_what_pip_cannot_install_is_one_line_that_names_the_log(answer, tmp_path):
    (tmp_path / "source" / "fail").touch()
    with pytest.raises(HarnessError) as caught:
        engines.install(answer)
    text = str(caught.value)
    log = engines.install_log(answer)
    assert text.startswith("engine 'answer' cannot be installed: pip failed with exit status 1: ")
    assert "error: " in text.lower()
    assert text.endswith(f"(log: {log})") and "\n" not in text
    assert "RuntimeError: no compiler" in log.read_text()
    assert {path.name for path in log.parent.iterdir()} == {log.name, ".answer.lock"}
