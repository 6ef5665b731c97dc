"""Little engines with scripts of their own, and processes that are watched."""

import subprocess
import sys
import textwrap
import time
from pathlib import Path

from harness.engines import Engine

ECHO = "import sys\nfor line in sys.stdin:\n    print(line, end='')\n"


def engine(folder: Path, script: str = ECHO, **fields) -> Engine:
    """An engine with a script of its own; all that need no package share one environment."""
    path = folder / "script.py"
    path.write_text(textwrap.dedent(script), encoding="utf-8")
    common = {"name": "echo", "summary": "Repeats.", "version": "1", "requirements": ()}
    return Engine(script=path, **{**common, **fields})


def gone(process: int, seconds: float = 10) -> bool:
    """Whether a process ends in time; a dead one that nobody waits for counts as ended."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.02)
    return False


def waited_for(path: Path, seconds: float = 120) -> str:
    """The content of a file that another process writes."""
    end = time.monotonic() + seconds
    while not (path.exists() and path.read_text().endswith("\n")):
        assert time.monotonic() < end, f"{path} was not written"
        time.sleep(0.02)
    return path.read_text()


def started(code: str, *arguments: object) -> subprocess.Popen:
    """A Python of ours that runs code with the engine room imported.

    It heeds an interrupt, also where whoever started these tests ignores them.
    """
    heed = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code = heed + "import sys\nfrom pathlib import Path\nfrom harness import engines\n" + code
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], stderr=subprocess.PIPE, text=True
    )
