"""Hostile programs: what they may not reach, and that they do not pass by reading the verdict."""

import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.errors import HarnessError
from tasks.flan import sandbox, sandboxed
from tasks.flan.sandbox import passed

PASSES_IF_DENIED = """
try:
{body}
except (OSError, ValueError, ImportError):
    pass
else:
    raise AssertionError('it could')
"""


def denied(body: str) -> str:
    """A program that passes if and only if what it does is denied with an error."""
    lines = "\n".join(f"    {line}" for line in body.split("\n"))
    return PASSES_IF_DENIED.format(body=lines)


@pytest.fixture
def secret() -> Iterator[int]:
    """A process of the same user with a secret in its environment and memory."""
    process = subprocess.Popen(
        [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"SECRET": "xyz"},
    )
    assert process.stdout is not None
    process.stdout.readline()
    yield process.pid
    process.kill()
    process.communicate()


READ = [
    "open('/proc/PID/environ', 'rb').read()",
    "open('/proc/PID/mem', 'rb')",
    "open('/proc/PID/maps')",
    "open('/proc/PID/cmdline')",
    "import os\nos.listdir('/proc/PID/fd')",
    "import os\nos.listdir('/proc')",
    "open('/proc/self/environ')",
    "open('/proc/self/mem', 'rb')",
    "open('/proc/self/maps')",
    "import os\nopen(f'/proc/{os.getppid()}/environ')",
    "import os\nos.pidfd_open(PID)",
    "import os\nos.kill(PID, 0)",
    "open('/etc/passwd')",
    "open('/etc/shadow')",
    "open('/etc/hostname')",
    "import os\nos.listdir('/etc')",
    "import os\nos.listdir('/root')",
    "import os\nos.listdir('/home')",
    "import os\nos.listdir('/')",
    "import os\nos.listdir('/tmp')",
    "open('KEYS')",
    "import os\nos.listdir('FOLDER')",
    "open('HERE')",
    "import os\nos.open('FOLDER', os.O_PATH | os.O_DIRECTORY)\nos.listdir('FOLDER')",
    "open('/dev/mem', 'rb')",
    "import mmap, os\nmmap.mmap(os.open('KEYS', os.O_RDONLY), 0, prot=mmap.PROT_READ)",
]


def test_other_processes_and_files_cannot_be_read(secret: int, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("xyz")
    names = {"PID": secret, "KEYS": tmp_path / "keys", "FOLDER": tmp_path, "HERE": __file__}
    programs = []
    for body in READ:
        for name, value in names.items():
            body = body.replace(name, str(value))
        programs.append(denied(body))
    assert [body for body, found in zip(READ, passed(programs), strict=True) if not found] == []


CALLS = {
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "bpf": (321, 280),
    "open_by_handle_at": (304, 265),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "setns": (308, 268),
    "unshare": (272, 97),
    "mount": (165, 40),
    "chroot": (161, 51),
    "rt_sigaction": (13, 134),
    "execveat": (322, 281),
    "memfd_create": (319, 279),
    "msgget": (68, 186),
    "openat2": (437, 437),
}


@pytest.mark.parametrize("machine", [0, 1])
def test_system_calls_to_others_are_in_the_table_of_each_machine(machine: int) -> None:
    table = (sandboxed.X86_64, sandboxed.AARCH64)[machine]
    numbers = [number for group in table for number in group]
    assert len(numbers) == len(set(numbers))
    assert {numbers_of[machine] for numbers_of in CALLS.values()} <= set(numbers)
    allowed = {0: {0, 1, 3, 9, 11, 12, 231, 59}, 1: {57, 63, 64, 94, 214, 215, 221, 222}}[machine]
    assert allowed.isdisjoint(numbers)


def test_the_kernel_denies_what_the_table_names() -> None:
    """Asked without Python's own guards, by a process that was confined the same way."""
    place = ("x86_64", "aarch64").index(platform.machine())
    numbers = [each[place] for each in CALLS.values()] + [(59, 221)[place]]
    script = (
        "import ctypes, os, sys\n"
        f"sys.path.insert(0, {str(Path(sandboxed.__file__).parent)!r})\n"
        "import sandboxed\n"
        "kernel = sandboxed.Kernel()\n"
        "kernel.without_rights()\n"
        "kernel.read_only([])\n"
        "kernel.filtered(os.uname().machine)\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        f"for number in {numbers}:\n"
        "    result = libc.syscall(number, 0, 0, 0, 0, 0)\n"
        "    print(number, result, ctypes.get_errno())\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.split("\n")[:-1] == [f"{number} -1 1" for number in numbers], done.stderr


SHUT = [
    "import gc\ngc.get_objects()",
    "import gc\ngc.get_referrers(1)",
    "import gc\ngc.get_referents(gc)",
    "import ctypes\nctypes.pythonapi.PyEval_GetFrame",
    "import ctypes\nctypes.string_at(id(1), 8)",
    "import ctypes\nctypes.c_long.from_address(id(1))",
    "import ctypes\nctypes.CDLL('libc.so.6')",
    "import ctypes\nctypes.CDLL(None).write",
    "import _testcapi",
    "import _testinternalcapi",
    "import _xxsubinterpreters",
    "import cffi",
    "import signal\nsignal.signal(signal.SIGALRM, lambda number, frame: None)",
    "import faulthandler\nfaulthandler.register(10)",
    "import importlib.machinery, sys\n"
    "names = [n for n in sys.path if n.endswith('lib-dynload')]\n"
    "importlib.machinery.ExtensionFileLoader('a._testcapi', f'{names[0]}/_testcapi.so')"
    ".create_module(type('Spec', (), {'name': 'a._testcapi', 'origin': "
    "f'{names[0]}/_testcapi.so'}))",
]


def test_python_shows_a_program_no_object_of_others() -> None:
    found = passed([denied(body) for body in SHUT])
    assert [body for body, ok in zip(SHUT, found, strict=True) if not ok] == []


SEARCH = """
import collections, os, sys
seen, todo = {}, collections.deque([FRAME])
while todo and len(seen) < 20000:
    each = todo.popleft()
    if id(each) in seen: continue
    seen[id(each)] = each
    if isinstance(each, bytes) and len(each.strip()) == 32 and each.strip().isalnum():
        for fd in range(3, 64):
            try: os.write(fd, each.strip() + bytes([10]))
            except OSError: pass
        os._exit(0)
    if isinstance(each, dict): todo += [*each.values()]
    elif isinstance(each, (list, tuple, set, frozenset)): todo += each
    elif type(each).__name__ == 'frame':
        todo += [each.f_back, each.f_locals, each.f_globals, each.f_code.co_consts]
    else:
        names = ('__dict__', '__defaults__', '__closure__', '__code__', '__self__', 'args', 'func')
        todo += [getattr(each, name, None) for name in (*names, 'cell_contents', 'co_consts')]
os._exit(0)
"""
"""Writes whatever may be the token, wherever the verdict may go."""
PLACES = (
    "sys._getframe()",
    "list(sys._current_frames().values())",
    "sys.modules",
    "object.__subclasses__()",
    "__import__('inspect').stack()",
    "sys.stdin",
)

FORGERIES = [
    # the attack that passed
    "import os, sys\nf = sys._getframe(1).f_locals\nos.write(f['verdict'], f['token'])\n"
    "os._exit(0)",
    *(SEARCH.replace("FRAME", place) for place in PLACES),
    "import sys\nsys._getframe(1).f_globals['steps']()\nsys.exit()",
    "import sys\nsys._getframe(1).f_globals['os'] = sys\nsys._exit = print\nraise ValueError",
    "import sys\nsys._getframe(1).f_builtins['BaseException'] = ZeroDivisionError\n"
    "raise ValueError",
    "import sys\nframe = sys._getframe(1)\ndef trace(*_):\n    frame.f_lineno += 1\n"
    "    return trace\nframe.f_trace = trace\nsys.settrace(trace)\nraise ValueError",
    "import os, sys\nsys.setprofile(lambda f, e, arg: e == 'return' and os._exit(0))\n"
    "raise ValueError",
    "import os, sys\ntry: 1 / 0\nexcept Exception as e:\n    f = e.__traceback__.tb_frame.f_back\n"
    "    os.write(f.f_locals['verdict'], f.f_locals['token'])\nos._exit(0)",
    "import gc, os\nfor x in gc.get_objects():\n"
    "    if isinstance(x, dict) and 'token' in x: os.write(x['verdict'], x['token'])\nos._exit(0)",
    # guesses at what stands where
    "import os\nfor fd in range(3, 64):\n    try: os.write(fd, b'ready\\n' + os.read(fd, 99))\n"
    "    except OSError: pass\nos._exit(0)",
    "import os\nfor fd in range(64):\n    try: os.lseek(fd, 0, 0); print(os.read(fd, 99))\n"
    "    except OSError: pass\nos._exit(0)",
    "import sys\nsys.stdin.buffer.seek(0)\nassert sys.stdin.buffer.read()",
    "import __main__\n__main__.token",
    "import sys\nsys.modules['__main__'].main()",
    "import os\nfor fd in range(3, 64):\n    try: os.ftruncate(fd, 0)\n    except OSError: pass\n"
    "os._exit(0)",
    # what runs after the end, or in its place
    "import atexit, os\natexit.register(os._exit, 0)\nraise ValueError",
    "import os, sys\nsys.excepthook = lambda *_: os._exit(0)\nraise ValueError",
    "import builtins, os\nbuiltins.exec = lambda *_: None\nos._exit(0)",
    "import os\nw = os.write\nos.write = lambda fd, text: w(fd, text * 2)\nraise ValueError",
    "import os\nos._exit = lambda status: None\nraise SystemExit(0)",
    "import os\nclass E(BaseException):\n    def __del__(self): os._exit(0)\nraise E",
    "import signal\nsignal.alarm(1)\nwhile True: pass",
    "import threading\nthreading.Thread(target=print).start()",
    "import concurrent.futures\nconcurrent.futures.ThreadPoolExecutor().submit(print).result()",
    "import builtins\nbuiltins.BaseException = int\nraise ValueError",
    "import builtins\nbuiltins.ValueError = SystemExit\nimport sys\nsys._getframe(1)\nos._exit(0)",
    "raise KeyboardInterrupt",
    "raise GeneratorExit",
    "import sys\nsys.exit()",
    "exit()",
    "import os\nos.execv(os.sys.executable, ['python', '-c', 'pass'])",
    "import os\nos.posix_spawn('/bin/true', ['true'], {})",
    "import pty\npty.spawn('/bin/true')",
    "import os\nos.dup2(3, 1)\nprint('ready')\nos.abort()",
]


def test_no_hostile_program_passes() -> None:
    found = passed(FORGERIES, 3)
    assert [body for body, ok in zip(FORGERIES, found, strict=True) if ok] == []


HONEST = [
    "from typing import List, NamedTuple\nclass P(NamedTuple):\n    a: int\nassert P(1).a == 1",
    "from collections import namedtuple, Counter\nassert namedtuple('P', 'a b')(1, 2).b == 2",
    "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass A:\n    x: int = 1\nA()",
    "import enum\nassert enum.Enum('E', 'A B').A.value == 1",
    "import inspect\nassert str(inspect.signature(lambda a, b=1: 0)) == '(a, b=1)'",
    "import functools\n@functools.lru_cache\ndef f(n): return n\n@functools.singledispatch\n"
    "def g(x): return f(1)\n@g.register\ndef _(x: int): return 2\nassert g(1) == 2",
    "import random, statistics, decimal, fractions, datetime\nrandom.seed(1)\nrandom.random()",
    "import hashlib\nassert hashlib.md5(b'').hexdigest() and hashlib.sha256(b'').hexdigest()",
    "import warnings\nwarnings.warn('old')",
    "import logging\nlogging.warning('hm')",
    "import traceback\ntry: 1 / 0\nexcept ZeroDivisionError: pass",
    "import re, json, string, itertools, heapq, bisect, operator, copy, math, textwrap, time",
    "def g():\n    yield 1\nassert list(g()) == [1]\nassert eval('1 + 1') == 2\nexec('x = 1')",
    "from zoneinfo import ZoneInfo\nimport datetime\ndatetime.datetime.now(datetime.UTC)",
    "import numpy as np\nassert np.linalg.inv(np.eye(2)).sum() == 2\nnp.random.default_rng(0)",
    "import sympy\nassert sympy.isprime(7)",
    "import asyncio\nasync def f(): return 1",
    "import sys\nassert sys._getframe(0).f_lineno == 2 and sys._getframe(1)",
    "def add(a, b):\n    return a + b\ndef check(c):\n    assert c(2, 3) == 5\ncheck(add)",
    "import unittest\nassert unittest.TestCase().assertEqual(1, 1) is None",
    "assert __name__ != '__main__'\nimport sys\nsys.setrecursionlimit(5000)",
]


def test_honest_programs_run_as_ever() -> None:
    found = passed(HONEST, 30)
    assert [body for body, ok in zip(HONEST, found, strict=True) if not ok] == []


def test_without_landlock_no_program_is_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    old = tmp_path / "sandboxed.py"
    source = Path(sandboxed.__file__).read_text()
    assert "CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444" in source
    old.write_text(source.replace("RESTRICT_SELF = 444", "RESTRICT_SELF = 999"))
    monkeypatch.setattr(sandbox.sandboxed, "__file__", str(old))
    with pytest.raises(HarnessError, match=r"\(OSError: .*no Landlock .*\): they are run on Linux"):
        passed(["pass"])


def _open_to_all(*paths: str) -> bool:
    """Whether every user may go through the folders of some paths."""
    places = {folder for path in paths for folder in Path(path).resolve().parents}
    return all(folder.stat().st_mode & 1 for folder in places)


@pytest.mark.skipif(
    os.getuid() != 0 or not _open_to_all(sys.base_prefix, __file__),
    reason="only root can become another user, who must be able to run this interpreter",
)
def test_another_user_is_kept_apart_the_same_way(tmp_path: Path) -> None:
    script = (
        "import os\nos.setgid(65534); os.setuid(65534)\n"
        "from tasks.flan.sandbox import passed\n"
        "print(passed(['pass', 'open(\"/etc/passwd\")', 'assert 0', 'open(\"/proc/self/maps\")']))"
    )
    environment = {**os.environ, "TMPDIR": "/tmp", "PYTHONPATH": os.getcwd()}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment
    )
    assert done.stdout.strip() == "[True, False, False, False]", done.stderr
