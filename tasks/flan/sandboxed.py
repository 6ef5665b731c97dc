"""The confinement of one program: it may compute and read Python's own files. Run by `sandbox`.

This process gives up what the kernel can take from it and then becomes the interpreter that runs
the program (`sandboxed_program`), a fresh one: nothing with which the limits were set is in it.
Only the standard library is imported.

- Landlock: no file is read but the interpreter's, its libraries and an empty folder; so neither
  `/proc` nor home folders, keys or data. No other process is read or signalled.
- A filter of system calls (seccomp): no process, thread, signal or its handler, socket, key ring,
  memory of others, changed or created file. Becoming another program is allowed once, from an
  address that no program has memory at.
- Limits of memory, time, output, open files; no capabilities.
"""

import ctypes
import os
import resource
import sys
from collections.abc import Iterable, Sequence

MEMORY, OPEN_FILES, OUTPUT = 2**30, 64, 4096
"""Bytes of address space, open files, bytes of output."""

Instruction = tuple[int, int, int, int]
"""Of the kernel's filter: code, jump if true, jump if false, constant."""

LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
ALLOW, DENY, KILL = 0x7FFF0000, 0x00050000 | 1, 0x80000000  # DENY: not permitted (EPERM)
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16
"""Where the kernel puts what a filter reads, in bytes."""
OTHER_NUMBERS = 0x40000000
"""System calls from here on are those of another convention (x32)."""
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
DOOR = 0x1357_0000_0000
"""Where the name of the interpreter lies when this process becomes it: memory that is gone then,
and that no allocator hands out."""

# Of processes, threads and namespaces; signals, their handlers and timers; sockets and watches;
# files that change; handles, mounts and messages; limits and shared memory; other processes'
# memory and files, tracing, the kernel's programs, the key ring.
X86_64 = (
    (56, 57, 58, 161, 165, 166, 272, 308, 322, 428, 429, 430, 431, 432, 433, 435, 442),
    (13, 62, 129, 200, 222, 234, 297, 424),
    (41, 42, 49, 50, 53, 253, 254, 294, 300, 301, 425, 426, 427),
    (76, 82, 83, 84, 85, 86, 87, 88, 90, 91, 92, 93, 94, 132, 133, 188, 189, 190, 197, 198, 199),
    (235, 258, 259, 260, 261, 263, 264, 265, 266, 268, 280, 285, 316, 319, 437, 447, 452),
    (240, 241, 242, 243, 244, 245, 303, 304),
    (29, 30, 64, 68, 69, 70, 71, 135, 141, 160, 302),
    (101, 103, 248, 249, 250, 279, 298, 310, 311, 312, 321, 323, 434, 438, 440, 448),
)
AARCH64 = (
    (39, 40, 51, 97, 117, 220, 268, 281, 428, 429, 430, 431, 432, 433, 435, 442),
    (107, 129, 130, 131, 134, 138, 240, 424),
    (26, 27, 198, 199, 200, 201, 203, 262, 263, 425, 426, 427),
    (5, 6, 7, 14, 15, 16, 33, 34, 35, 36, 37, 38, 45, 46, 47, 52, 53, 54, 55, 88),
    (180, 181, 182, 183, 184, 185, 264, 265, 276, 279, 437, 447, 452),
    (92, 140, 164, 186, 187, 188, 189, 190, 194, 195, 196, 261),
    (116, 217, 218, 219, 239, 241, 270, 271, 272, 280, 282, 434, 438, 440, 448),
)
MACHINES = {
    "x86_64": (0xC000003E, X86_64, {2: 1, 257: 2}, 59),
    "aarch64": (0xC00000B7, AARCH64, {56: 2}, 221),
}
"""Machine -> its number, calls that are denied, calls that open a file with the place of their
flags among the arguments, the call that becomes another program."""

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
"""Landlock's calls, the same on every machine."""
RIGHTS = {1: 13, 2: 14, 3: 15, 5: 16}
"""Landlock's version -> how many rights over files it knows from then on."""
READING = 0b1101
"""Of these: execute, read a file, list a folder."""
OF_A_FILE = 0b101

DATA = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/share/zoneinfo")
FILES = ("/etc/ld.so.cache", "/dev/null", "/dev/urandom", "/dev/random")
"""What every program may read besides the interpreter's own folders: libraries, time zones."""


class Filter(ctypes.Structure):
    """`struct sock_filter`."""

    _fields_ = [
        ("code", ctypes.c_uint16),
        ("jump_true", ctypes.c_uint8),
        ("jump_false", ctypes.c_uint8),
        ("constant", ctypes.c_uint32),
    ]


class FilterProgram(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = [("length", ctypes.c_uint16), ("filters", ctypes.POINTER(Filter))]


class CapabilityHeader(ctypes.Structure):
    """`struct __user_cap_header_struct`."""

    _fields_ = [("version", ctypes.c_uint32), ("process", ctypes.c_int)]


class Ruleset(ctypes.Structure):
    """`struct landlock_ruleset_attr`."""

    _fields_ = [(name, ctypes.c_uint64) for name in ("files", "net", "scoped")]


class Beneath(ctypes.Structure):
    """`struct landlock_path_beneath_attr`."""

    _pack_ = 1
    _layout_ = "ms"
    _fields_ = [("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32)]


def filter_of(machine: str) -> Sequence[Instruction]:
    """What the kernel does with each system call of this process from now on."""
    number, denied, opening, becoming = MACHINES[machine]
    found = [
        (LOAD, 0, 0, ARCHITECTURE),
        (EQUAL, 1, 0, number),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, NUMBER),
        (AT_LEAST, 0, 1, OTHER_NUMBERS),
        (RETURN, 0, 0, KILL),
    ]
    for call in (call for calls in denied for call in calls):
        found += [(EQUAL, 0, 1, call), (RETURN, 0, 0, DENY)]
    for call, flags in opening.items():
        found += [
            (EQUAL, 0, 4, call),
            (LOAD, 0, 0, ARGUMENTS + 8 * flags),
            (ANY_BIT, 0, 1, WRITING),
            (RETURN, 0, 0, DENY),
            (RETURN, 0, 0, ALLOW),
        ]
    found += [
        (EQUAL, 0, 6, becoming),
        (LOAD, 0, 0, ARGUMENTS),
        (EQUAL, 0, 3, DOOR & 0xFFFFFFFF),
        (LOAD, 0, 0, ARGUMENTS + 4),
        (EQUAL, 0, 1, DOOR >> 32),
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, DENY),
    ]
    return [*found, (RETURN, 0, 0, ALLOW)]


def readable(program: str, prefixes: Sequence[str]) -> list[str]:
    """Folders and files that a program may read: what the interpreter needs of this machine."""
    own = [os.path.join(p, part) for p in prefixes for part in ("lib", "lib64", "pyvenv.cfg")]
    interpreter = [sys.executable, os.path.realpath(sys.executable)]
    return [*own, *interpreter, *DATA, *FILES, program, os.getcwd()]


class Kernel:
    """System calls that the standard library has no function for."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)

    def call(self, name: str, *arguments: object) -> int:
        """A function's result; raises `OSError` where it fails."""
        result: int = getattr(self._libc, name)(*arguments)
        if result < 0:
            error = ctypes.get_errno()
            raise OSError(error, f"{name}: {os.strerror(error)}")
        return result

    def read_only(self, paths: Iterable[str]) -> None:
        """Let this process read nothing but what is below `paths`, and write nowhere."""
        nothing = ctypes.c_void_p()
        try:
            version = self.call("syscall", CREATE_RULESET, nothing, ctypes.c_size_t(0), 1)
        except OSError as error:
            raise OSError(error.errno, "the kernel has no Landlock (Linux 5.13 or newer)") from None
        rights = RIGHTS[max(known for known in RIGHTS if known <= version)]
        net, scoped = (3 if version >= 4 else 0), (3 if version >= 6 else 0)
        rules = Ruleset((1 << rights) - 1, net, scoped)
        size = 8 if version < 4 else 16 if version < 6 else 24
        handle = self.call("syscall", CREATE_RULESET, ctypes.byref(rules), ctypes.c_size_t(size), 0)
        for path in filter(os.path.exists, paths):
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
            allowed = READING if os.path.isdir(path) else OF_A_FILE
            self.call("syscall", ADD_RULE, handle, 1, ctypes.byref(Beneath(allowed, place)), 0)
            os.close(place)
        self.call("prctl", 38, 1, 0, 0, 0)  # no new rights, which Landlock asks for
        self.call("syscall", RESTRICT_SELF, handle, 0)
        os.close(handle)

    def filtered(self, machine: str) -> None:
        """Deny system calls from now on."""
        instructions = filter_of(machine)
        filters = (Filter * len(instructions))(*(Filter(*each) for each in instructions))
        program = FilterProgram(len(instructions), filters)
        self.call("prctl", 22, 2, ctypes.byref(program), 0, 0)

    def without_rights(self) -> None:
        """Give up root's capabilities; this process ends with the one that started it."""
        nothing = (ctypes.c_uint32 * 6)()
        self.call("prctl", 1, 9, 0, 0, 0)
        self.call("capset", ctypes.byref(CapabilityHeader(0x20080522, 0)), nothing)

    def door(self, path: str) -> int:
        """Put a text where the filter lets this process become another program from."""
        text = os.fsencode(path) + b"\0"
        self._libc.mmap.restype = ctypes.c_void_p
        size = ctypes.c_size_t(len(text))
        found = self._libc.mmap(ctypes.c_void_p(DOOR), size, 3, 0x32, -1, ctypes.c_long(0))
        if found != DOOR:
            raise OSError(f"no memory at {DOOR:#x}")
        ctypes.memmove(DOOR, text, len(text))
        return DOOR

    def become(self, address: int, words: Sequence[str]) -> None:
        """Become the program whose name lies at an address."""
        arguments = (ctypes.c_char_p * (len(words) + 1))(*map(os.fsencode, words), None)
        variables = [f"{name}={value}" for name, value in os.environ.items()]
        environment = (ctypes.c_char_p * (len(variables) + 1))(*map(os.fsencode, variables), None)
        self.call("execve", ctypes.c_void_p(address), arguments, environment)


def main() -> None:
    """Confine this process, then run the interpreter on the program of the input."""
    program, seconds, *prefixes = sys.argv[1:]
    os.dup2(os.open(os.devnull, os.O_RDWR), 3)  # what its streams become: opening it is denied then
    os.set_inheritable(3, True)
    for limit, value in (
        (resource.RLIMIT_CPU, int(seconds)),
        (resource.RLIMIT_FSIZE, OUTPUT),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_AS, MEMORY),
    ):
        resource.setrlimit(limit, (value, value))
    kernel = Kernel()
    kernel.without_rights()
    kernel.read_only(readable(program, prefixes))
    address = kernel.door(sys.executable)
    kernel.filtered(os.uname().machine)
    kernel.become(address, [sys.executable, "-I", "-B", program])


if __name__ == "__main__":
    main()
