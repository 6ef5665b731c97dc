"""Engines: scorers whose dependencies exclude ours, each in an environment of its own.

`harness engines install NAME` makes the environment. A call runs the engine's script there, as a
process that is given JSON lines and answers with as many; none of our packages can be seen there.
"""

import hashlib
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from harness import registry
from harness.errors import HarnessError, PluginError
from harness.files import hash_file, lock

Row = dict[str, Any]
File = IO[bytes]

PATIENCE = 3600.0
"""Seconds to wait for another process that installs the same engine."""

LAUNCHERS = re.compile(
    "PYTHON|TORCHELASTIC_|SLURM_|(LOCAL_|GROUP_|ROLE_)?(RANK|WORLD_SIZE)$|MASTER_(ADDR|PORT)$"
)
"""Environment variables that an engine must not inherit: our Python's, and those by which its
libraries would take it for one of several processes that train together."""

SUPERVISED = """
import io, os, runpy, signal, sys, threading

def end_with_parent():
    os.read(0, 1)  # returns when the other end is closed: by our parent, or with it
    os.killpg(os.getpgrp(), signal.SIGKILL) if hasattr(os, "killpg") else os._exit(1)

size, target, *arguments = sys.argv[1:]
given = sys.stdin.buffer.read(int(size))
threading.Thread(target=end_with_parent, daemon=True).start()
sys.stdin = io.TextIOWrapper(io.BytesIO(given), encoding="utf-8")
sys.argv = [target, *arguments]
if target.endswith(".py"):
    runpy.run_path(target, run_name="__main__")
else:
    runpy.run_module(target, run_name="__main__", alter_sys=True)
"""
"""Runs a script or a module, and ends with all its children when our process does, however
that ends: standard input brings the rows and then stays open as the line of life."""


class NotInstalledError(HarnessError):
    """An engine that has no environment yet: what it measures is absent, not wrong."""


@dataclass(frozen=True)
class Engine:
    """A scorer in an environment of its own. Registered as an instance under `harness.engines`."""

    name: str
    """As it is registered: letters, digits, - and _."""
    summary: str
    version: str
    """What a result says of its scorer: package and version."""
    requirements: tuple[str, ...]
    """What pip installs, pinned."""
    script: Path
    """Gets the settings as a JSON object in its first argument, reads one JSON object per line from
    standard input, and writes one per row to standard output, in their order, and nothing else.
    An error of the user is its last line: `sys.exit("what, where, what to do")`."""

    def identity(self) -> str:
        """Hash of what its answers depend on besides rows and settings, 16 hex digits."""
        return _digest([self.version, *self.requirements, hash_file(self.script)])


def load(name: str) -> Engine:
    """The engine registered under a name."""
    engine = registry.load("engines", name)
    if not isinstance(engine, Engine) or engine.name != name or not re.fullmatch(r"[\w-]+", name):
        value = registry.find("engines", name).value
        raise PluginError(f"engine '{name}': '{value}' is not an Engine of that name.")
    return engine


def home() -> Path:
    """The folder of environments: below `HARNESS_HOME`, or the user's cache."""
    given = os.environ.get("HARNESS_HOME")
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        return Path(os.path.abspath(Path(given or f"{cache}/harness").expanduser())) / "engines"
    except RuntimeError:
        raise HarnessError("no home folder for engines: set HARNESS_HOME to a folder.") from None


def folder(engine: Engine) -> Path:
    """Where the engine's environment is, or would be."""
    return home() / f"{engine.name}-{_digest(engine.requirements)}"


def install_log(engine: Engine) -> Path:
    """What venv and pip said at the last install."""
    return home() / f"{folder(engine).name}.log"


def installed(engine: Engine) -> bool:
    """Whether the engine's environment is there, with a Python that exists."""
    return _python(folder(engine)).exists()


def install(engine: Engine) -> Path:
    """Make the engine's environment, unless it is there; returns its folder.

    It is built beside its place and renamed: after a killed install the next one starts anew, with
    what pip has in its cache. A second process waits for the first.
    """
    place = folder(engine)
    building = place.with_name(f".{place.name}.building")
    with lock(home() / f".{engine.name}.lock", timeout=PATIENCE):
        if installed(engine):
            return place
        with _removed_on_failure(building), open(install_log(engine), "wb") as log:
            pip = [] if engine.requirements else ["--without-pip"]
            _step(engine, Path(sys.executable), "venv", ["--clear", *pip, str(building)], log)
            if engine.requirements:
                options = ["install", "--no-input", "--disable-pip-version-check"]
                _step(engine, _python(building), "pip", [*options, *engine.requirements], log)
            shutil.rmtree(place, ignore_errors=True)  # one whose Python is gone
            os.replace(building, place)
    return place


def remove(name: str) -> list[Path]:
    """Delete all environments of an engine, also of older requirements; returns what was there."""
    ours = re.compile(rf"\.?{re.escape(name)}-[0-9a-f]{{16}}(\.building|\.log)?")
    found = [path for path in sorted(home().glob("*")) if ours.fullmatch(path.name)]
    if not found:
        return []
    with lock(home() / f".{name}.lock", timeout=PATIENCE):
        for path in found:
            try:
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            except OSError as error:
                raise HarnessError(f"{path}: cannot be removed ({error}).") from error
    return [path for path in found if path.suffix != ".log"]


def call(engine: Engine, rows: Sequence[Mapping[str, Any]], **settings: Any) -> list[Row]:
    """The engine's answers, one per row in their order.

    Args:
        rows: JSON-able mappings.
        settings: JSON-able, as the engine's script takes them.

    Raises `NotInstalledError` with the command that installs, and `HarnessError` with the engine's
    own last line and its log where it fails, dies, or answers with anything but that many JSON
    objects of finite numbers. The process ends with ours.
    """
    if not installed(engine):
        raise NotInstalledError(
            f"engine '{engine.name}' is not installed: `harness engines install {engine.name}`."
        )
    given = "".join(json.dumps(dict(row), allow_nan=False) + "\n" for row in rows).encode()
    with _kept_on_failure(engine) as log, tempfile.TemporaryFile() as answers:
        arguments = [json.dumps(settings, allow_nan=False)]
        status = _run(_python(folder(engine)), str(engine.script), arguments, given, answers, log)
        if status:
            raise HarnessError(f"{_ending(status)}: {_last_words(Path(log.name))}")
        answers.seek(0)
        return _parsed(answers.read(), len(rows))


def _parsed(output: bytes, count: int) -> list[Row]:
    """An engine's output as rows; `HarnessError` where it is not `count` of them."""
    lines = output.split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line, parse_float=_finite, parse_constant=_finite)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            shown = line[:80].decode(errors="replace")
            raise HarnessError(
                f"line {number} of its answers is no JSON object of finite numbers: {shown!r}"
            )
        rows.append(row)
    if len(rows) != count:
        raise HarnessError(f"{len(rows)} answers to {count} rows")
    return rows


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _run(
    python: Path, target: str, arguments: list[str], given: bytes, out: File, log: File
) -> int:
    """Exit status of a script or module run by `python`; its children end with it and with us."""
    isolated = [str(python), "-I", "-X", "utf8", "-c", SUPERVISED]
    environment = {k: v for k, v in os.environ.items() if not LAUNCHERS.match(k)}
    process = subprocess.Popen(
        [*isolated, str(len(given)), target, *arguments],
        stdin=subprocess.PIPE,
        stdout=out,
        stderr=log,
        env=environment,
        start_new_session=True,
    )
    assert process.stdin is not None
    try:
        with suppress(BrokenPipeError):  # it has ended: its status says why
            process.stdin.write(given)
            process.stdin.flush()
        return process.wait()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL) if hasattr(os, "killpg") else process.kill()
        with suppress(BrokenPipeError):
            process.stdin.close()
        process.wait()


def _step(engine: Engine, python: Path, module: str, arguments: list[str], log: File) -> None:
    status = _run(python, module, arguments, b"", log, log)
    if status:
        path = Path(log.name)
        raise HarnessError(
            f"engine '{engine.name}' cannot be installed: {module} {_ending(status)}: "
            f"{_last_words(path, 'error: ')} (log: {path})"
        )


@contextmanager
def _removed_on_failure(building: Path) -> Iterator[None]:
    """The environment in the making goes where it fails; errors of the disk become the user's."""
    try:
        yield
    except OSError as error:
        raise HarnessError(
            f"{error.filename or building}: cannot be written ({error.strerror or error}). "
            "Make room, or set HARNESS_HOME to another folder."
        ) from error
    finally:
        shutil.rmtree(building, ignore_errors=True)


@contextmanager
def _kept_on_failure(engine: Engine) -> Iterator[File]:
    """A log for one call; where that fails the log stays, and the error names it."""
    prefix = f"harness-{engine.name}-"
    with tempfile.NamedTemporaryFile(prefix=prefix, suffix=".log", delete=False) as log:
        try:
            yield log
        except (HarnessError, OSError) as error:
            raise HarnessError(f"engine '{engine.name}': {error} (log: {log.name})") from error
        except BaseException:
            os.unlink(log.name)
            raise
    os.unlink(log.name)


def _ending(status: int) -> str:
    if status < 0:
        return f"was killed by signal {-status}, perhaps for want of memory"
    return f"failed with exit status {status}"


def _last_words(log: Path, begin: str = "") -> str:
    """The last line of a log that begins so, else the last line."""
    with open(log, "rb") as file:
        file.seek(max(0, os.path.getsize(log) - 65536))
        text = file.read().decode(errors="replace")
    text = "".join(c if c.isprintable() or c in "\r\n" else " " for c in text)
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    chosen = [line for line in lines if line.lower().startswith(begin)]
    return (chosen or lines or ["it said nothing"])[-1][:300]


def _python(environment: Path) -> Path:
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _digest(parts: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
