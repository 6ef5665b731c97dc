"""The process of one program, confined by `sandboxed`: runs it and says that it came to its end.

Input: a line with the token that says so, then the program. Output: `ready`, then the token.

The token lies in no variable. What runs the program and then writes the token is one iterator that
C code goes through, with no frame of Python's and no name: a program that looks through the frames
of its callers finds nothing, and whatever it changes there, the token is written after it came to
its end or never. Python's ways to all objects and to memory are shut by a hook that cannot be taken
away again (PEP 578). What is left is to search the memory by other means, as numeric libraries have
them.
"""

import builtins
import os
import sys
import types
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from operator import call
from typing import Any

READY = b"ready\n"

DENIED = frozenset({"gc.get_objects", "gc.get_referrers", "gc.get_referents", "sys.addaudithook"})
"""Events of what shows the objects of a caller."""

NATIVE = ("cffi", "_cffi_backend", "_test", "_xx", "_interp", "xxlimited")
"""How modules begin that call any function of a library, or have other interpreters. `ctypes`,
which numeric libraries import, may be imported, but names no function and reads no memory."""


def hook() -> Callable[[str, tuple[Any, ...]], None]:
    """Return an audit hook that denies a program the ways to objects that it has no name for.

    It looks up no name that a program could change: all that it uses is bound to it.
    """

    def deny(
        event: str,
        arguments: tuple[Any, ...],
        denied: frozenset[str] = DENIED,
        native: tuple[str, ...] = NATIVE,
        begins: Callable[..., bool] = str.startswith,
        parts: Callable[..., tuple[str, str, str]] = str.rpartition,
        refused: type[Exception] = ValueError,
        no_module: type[Exception] = ImportError,
    ) -> None:
        native_call = begins(event, "ctypes.") and (event != "ctypes.dlopen" or arguments[0])
        if event in denied or native_call:
            raise refused("not in a program that is kept apart")
        if event == "import":
            name, file = arguments[:2]
            found = begins(parts(name, ".")[2], native) or begins(name, native)
            if found or (file and begins(parts(file, "/")[2], native)):
                raise no_module("not in a program that is kept apart")

    return deny


def steps() -> Iterator[Callable[[], object]]:
    """Return what is to be called in turn: the program, what says that it came to its end, an exit.

    They are C code's alone, so that no step is called from a frame in which the next could be seen.
    """
    token, _, program = os.pread(0, os.fstat(0).st_size, 0).partition(b"\n")
    verdict = os.dup(1)
    for stream in (0, 1, 2):
        os.dup2(3, stream)
    os.close(3)
    os.write(verdict, READY)
    code = compile(program, "program", "exec")
    space = {"__name__": "builtins", "__builtins__": builtins}
    end = partial(os.write, verdict, token + b"\n")
    return iter((partial(exec, code, space), end, partial(os._exit, 0)))


def main() -> None:
    """Run the program of the input; the end of this process says nothing, the token all."""
    sys.modules["__main__"] = types.ModuleType("__main__")
    sys.addaudithook(hook())
    try:
        deque(map(call, steps()), maxlen=0)
    except BaseException:  # also of SystemExit: a program that leaves has not come to its end
        os._exit(1)


if __name__ == "__main__":
    main()
