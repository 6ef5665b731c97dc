"""Engines: a real environment, a real process; whatever an engine does, the user reads one line."""

import json
import os
import signal
import sys
from pathlib import Path

import pytest
from engine_world import ECHO, engine, gone, started, waited_for
from foreign import package

from harness import engines, registry
from harness.engines import NotInstalledError
from harness.errors import HarnessError, PluginError


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home in which the engine without requirements is installed."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_HOME", str(folder))
        engines.install(engine(folder))
    return folder


@pytest.fixture
def installed(home, tmp_path, monkeypatch):
    """Makes engines of scripts in that home; their logs go to this test's folder."""
    monkeypatch.setenv("HARNESS_HOME", str(home))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return lambda script: engine(tmp_path, script)


def logs(folder: Path) -> list[Path]:
    return sorted(folder.glob("harness-echo-*.log"))


def test_the_script_runs_in_its_own_environment_and_sees_nothing_of_ours(
    installed, home, tmp_path, monkeypatch
):
    (tmp_path / "yaml.py").write_text("raise RuntimeError")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(p for p in sys.path if p))
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("PYTORCH_SETTING", "kept")
    script = """
        import importlib.util, json, os, sys
        found = [n for n in ("harness", "yaml", "torch", "pip") if importlib.util.find_spec(n)]
        names = ("PYTHONPATH", "WORLD_SIZE", "RANK", "PYTORCH_SETTING")
        kept = [n for n in names if n in os.environ]
        settings = json.loads(sys.argv[1])
        print(json.dumps({"prefix": sys.prefix, "found": found, "kept": kept, **settings}))
    """
    answers = engines.call(installed(script), [{}], scale=[1, 2.5], name="ü")
    (place,) = (home / "engines").glob("echo-*[0-9a-f]")
    assert answers == [
        {
            "prefix": str(place),
            "found": [],
            "kept": ["PYTORCH_SETTING"],
            "scale": [1, 2.5],
            "name": "ü",
        }
    ]
    assert logs(tmp_path) == []


def test_any_text_survives_the_way_there_and_back(installed):
    texts = ["", " \t", "a\nb\r\nc", "\u2028\u2029\x85\x0b\x0c", "\x00\x1f\x7f", "标题 👍🏽 ß İ"]
    rows = [{"text": text, "n": i} for i, text in enumerate([*texts, '"\\', "\ud800", "x" * 10**6])]
    assert engines.call(installed(ECHO), rows) == rows
    literal = """
        import json, sys
        for line in sys.stdin:
            print(json.dumps(json.loads(line), ensure_ascii=False))
    """
    assert engines.call(installed(literal), rows[:7]) == rows[:7]


def test_no_rows_are_no_answers(installed):
    assert engines.call(installed(ECHO), []) == []


def test_large_traffic_in_all_three_directions_does_not_block(installed):
    script = """
        import json, sys
        for line in sys.stdin:
            row = json.loads(line)
            print("noise" * 2000, file=sys.stderr, flush=True)
            print(json.dumps({"length": len(row["text"]), "back": row["text"]}), flush=True)
    """
    rows = [{"text": str(n % 10) * 20_000} for n in range(300)]
    answers = engines.call(installed(script), rows)
    assert answers == [{"length": 20_000, "back": row["text"]} for row in rows]


def test_a_script_that_reads_nothing_does_not_block(installed):
    script = "print('{}\\n{}')"
    assert engines.call(installed(script), [{"text": "x" * 10**7}, {}]) == [{}, {}]


FAILING = {
    "raises": ("raise ValueError('no such\\nlanguage')", "failed with exit status 1: language"),
    "exits": ("import sys; sys.exit('ü: no checkpoint')", "status 1: ü: no checkpoint"),
    "mute": ("import sys; sys.exit(7)", "failed with exit status 7: it said nothing"),
    "killed": ("import os; os.kill(os.getpid(), 9)", "was killed by signal 9, perhaps for want"),
    "late": (ECHO + "raise SystemExit('after all')", "failed with exit status 1: after all"),
    "syntax": ("def broken(:", "failed with exit status 1: SyntaxError: "),
    "bar": ("import sys; sys.exit('10%|#\\r90%|###\\rno\\x1b room\\x00\\n\\n ')", "1: no"),
    "bytes": (
        "import os; os.write(2, b'\\xff\\xfe bad'); os._exit(1)",
        "status 1: \ufffd\ufffd bad",
    ),
    "long": ("import sys; sys.exit('x' * 10**6)", "status 1: " + "x" * 300 + " (log: "),
    "few": ("print('{}')", "1 answers to 2 rows"),
    "many": ("print('{}\\n' * 3, end='')", "3 answers to 2 rows"),
    "nothing": ("", "0 answers to 2 rows"),
    "words": ("print('{}\\nloading model')", "line 2 of its answers is no JSON object of finite"),
    "blank": ("print('{}\\n\\n{}')", "line 2 of its answers"),
    "list": ("print('[1]\\n[2]')", "line 1 of its answers"),
    "number": ("print('{}\\n3')", "line 2 of its answers"),
    "nan": ("print('{}\\n{\"score\": NaN}')", "finite numbers: '{\"score\": NaN}'"),
    "infinite": ("print('{}\\n{\"score\": [-Infinity]}')", "line 2 of its answers"),
    "huge": ("print('{}\\n{\"score\": 1e999}')", "line 2 of its answers"),
    "digits": ("print('{}\\n{\"score\": ' + '9' * 5000 + '}')", "line 2 of its answers"),
    "deep": ("print('{}\\n{\"score\": ' + '[' * 100000 + '}')", "line 2 of its answers"),
    "latin": ('import os; os.write(1, b\'{}\\n{"a": "\\xff"}\\n\')', "line 2 of its answers"),
    "half": ("print('{}\\n{\"score\": 1', end='')", "line 2 of its answers"),
}


@pytest.mark.parametrize("kind", FAILING)
def test_failures_and_hostile_answers_are_one_line_that_names_the_log(kind, installed, tmp_path):
    script, message = FAILING[kind]
    with pytest.raises(HarnessError) as caught:
        engines.call(installed(script), [{"n": 1}, {"n": 2}])
    text = str(caught.value)
    (log,) = logs(tmp_path)
    assert text.startswith("engine 'echo': ")
    assert message in text
    assert text.endswith(f"(log: {log})")
    assert text.isprintable() and len(text) < 600


def test_the_log_of_a_failure_holds_all_that_was_said(installed, tmp_path):
    script = "import sys\nprint('loading', file=sys.stderr)\n1 / 0"
    with pytest.raises(HarnessError, match="ZeroDivisionError"):
        engines.call(installed(script), [{}])
    said = logs(tmp_path)[0].read_text()
    assert said.startswith("loading\n")
    assert "Traceback" in said and "script.py" in said


SLEEPING = """
    import json, os, subprocess, sys, time
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    with open(json.loads(sys.argv[1])["note"], "w") as file:
        print(os.getpid(), child.pid, file=file)
    time.sleep(600)
"""


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_engine_and_its_children_end_with_our_process(end, installed, tmp_path):
    installed(SLEEPING)
    call = (
        "engine = engines.Engine('echo', '', '1', (), Path(sys.argv[1]))\n"
        "engines.call(engine, [{}], note=sys.argv[2])"
    )
    ours = started(call, tmp_path / "script.py", tmp_path / "note")
    processes = [int(each) for each in waited_for(tmp_path / "note").split()]
    assert len(processes) == 2
    ours.send_signal(end)
    ours.communicate(timeout=20)
    assert ours.returncode != 0
    assert all(gone(process) for process in processes)


def test_an_absent_engine_names_the_command_that_installs_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_HOME", str(tmp_path))
    with pytest.raises(NotInstalledError, match=r"^engine 'echo' is not installed: `harness eng"):
        engines.call(engine(tmp_path), [{}])
    assert list(tmp_path.iterdir()) == [tmp_path / "script.py"]


def test_other_requirements_are_another_environment(home, installed, tmp_path):
    assert engines.installed(engine(tmp_path))
    assert not engines.installed(engine(tmp_path, requirements=("x==1",)))
    assert not engines.installed(engine(tmp_path, name="ech"))
    assert engines.installed(engine(tmp_path, "print()", version="2", summary="Else."))


def test_identity_is_of_version_requirements_and_script(tmp_path):
    first = engine(tmp_path).identity()
    assert engine(tmp_path, summary="Else.", name="other").identity() == first
    changed = [{"version": "2"}, {"requirements": ("x",)}, {"script": ECHO + "#"}]
    assert len({first, *(engine(tmp_path, **each).identity() for each in changed)}) == 4


@pytest.mark.skipif(os.name == "nt", reason="a shell script stands for a broken Python")
@pytest.mark.parametrize(
    ("python", "message"),
    [
        ("#!/bin/sh\necho libpython is missing >&2; exit 127", "status 127: libpython is missing"),
        ("\x7fELF nonsense", "Exec format error"),
    ],
)
def test_a_python_that_does_not_start_is_one_line(python, message, tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_HOME", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    program = engines.folder(engine(tmp_path)) / "bin" / "python"
    program.parent.mkdir(parents=True)
    program.write_text(python)
    program.chmod(0o755)
    with pytest.raises(HarnessError, match=rf"^engine 'echo': .*{message}"):
        engines.call(engine(tmp_path), [{"text": "x" * 10**7}])


def test_only_engines_of_their_own_name_are_loaded(tmp_path, monkeypatch):
    source = "from pathlib import Path\nfrom harness.engines import Engine\n" + "".join(
        f"{variable} = Engine('{name}', 'Scores.', '1', (), Path('x.py'))\n"
        for variable, name in {"mine": "mine", "other": "mine", "odd": "../odd"}.items()
    )
    points = {name: f"stranger:{variable}" for name, variable in {
        "mine": "mine", "other": "other", "../odd": "odd", "path": "Path"
    }.items()}  # fmt: skip
    package(tmp_path, "stranger", {"stranger.py": source}, {"harness.engines": points})
    monkeypatch.syspath_prepend(tmp_path)
    registry.forget()
    try:
        assert engines.load("mine").summary == "Scores."
        for name in ("other", "../odd", "path"):
            with pytest.raises(PluginError, match="is not an Engine of that name"):
                engines.load(name)
        with pytest.raises(PluginError, match=r"no engine 'mein'\. Did you mean 'mine'"):
            engines.load("mein")
    finally:
        registry.forget()
        sys.modules.pop("stranger", None)


def test_settings_and_rows_are_json(installed):
    with pytest.raises(ValueError, match="JSON compliant"):
        engines.call(installed(ECHO), [{"score": float("nan")}])
    assert json.dumps(engines.call(installed(ECHO), [{"score": -0.0}])) == '[{"score": -0.0}]'
