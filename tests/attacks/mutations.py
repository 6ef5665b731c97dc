"""Ways to spoil an input: JSON trees, texts and bytes, all decided by a generator."""

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

DEEP = 20_000
LONG = "a" * 100_000


def nested(depth: int) -> Any:
    """A list in a list in a list."""
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


VALUES: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 3, 2**31, 2**63, 2**64, 10**400, 1e308, 0.5, -0.0),
    *(float("nan"), float("inf"), "", " ", "nan", "yes", "A", "0", "-1", "1e999", "null"),
    *("\x1b[2J\x1b]0;title\x07", "two\nlines", "\r", "\x00", "\ud800", "\u202e", "é" * 300),
    *(LONG, "../../etc/passwd", "/dev/null", "{x}", "{0.__class__}", "{", "%s", "2020-01-01"),
    *([], [[]], {}, {"": ""}, [None], ["a", 1, None], {"a": {"b": 1}}, [{}], {"1": 2}, [[1], [2]]),
    *([0] * 1000, {"a": nested(3)}, "os:system", ["\ud800"], "<image>", "en", "http://x"),
)
"""Values that belong nowhere, or hardly anywhere."""

YAML: tuple[str, ...] = (
    *("[", "{", "{a", "[a", "'", '"', "&a", "*a", "&a [*a]", "{*a : 1}", "? [a]\n: b", "{[a]: 1}"),
    *("{{a: 1}: 2}", "1: 2", "{1: 2}", "{null: 1}", "{a: 1, a: 2}", "2020-13-45", "2020-01-01"),
    *("2020-01-01 99:99:99", "0001-01-01T00:00:00+99:99", "0x", "0b", "0o9", "1e999", ".nan"),
    *("-.inf", "!!python/object:os.system x", "!!python/name:os.system", "!!binary x", "!!int x"),
    *("!!binary =", "!!float abc", "!!int ''", "!!float ''", "!!bool maybe", "!!null x", "!x y"),
    *("!!timestamp x", "!!set {a}", "!!omap [a]", "!!pairs [a]", "!!map [a]", "!!seq {a: 1}"),
    *(
        "!!str [a]",
        "!",
        "!!",
        "!<",
        "%",
        "%YAML 9.9\n---\na",
        "---\n---",
        "--- a\n--- b",
        "a: b: c",
    ),
    *(
        "@",
        "`",
        "\t",
        "\ta: 1",
        "<<: 3",
        "<<: [1]",
        "{<<: x}",
        "{<<: {a: 1}}",
        "=",
        "|",
        ">",
        "- a\nb",
    ),
    *("12:30:45", "190:20:30.15", "1_000", "_", "+", "-", ".", "..", "~", "-0", "0" * 5000),
    *("9" * 5000, "-" + "9" * 5000, "0x" + "f" * 5000, "1:" * 5000 + "1", '"\\ud800"', '"\\x00"'),
    *(
        '"\\q"',
        '"\\U99999999"',
        "a\x00b",
        "\x07",
        "\ufeffa",
        "\x85",
        "\u2028",
        "[" * DEEP,
        "{a: " * 3000,
    ),
    *("- " * 3000, "[" * 900 + "]" * 900, "'" * 5000, "&a " * 3000, "? " * 3000, "!!" * 3000),
    *("[" + "a," * 50_000 + "]", "a: &a {<<: *a}", "!!python/tuple [1]", "{? : }", "[,]", "{,}"),
    *("[&a [x], *a]", "{a: !!binary '***'}", "2001-12-14t21:59:43.10-05:00", "no", "On", "1.e+"),
)
"""Texts that a YAML reader chokes on, or reads as something surprising."""


def bomb(width: int = 9, levels: int = 9) -> str:
    """YAML whose aliases stand for billions of entries."""
    lines = ["a0: &a0 [x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * width)}]" for i in range(1, levels)]
    return "\n".join(lines)


def yaml_text(rng: random.Random) -> str:
    """One hostile YAML text, some combined."""
    found = rng.choice((*YAML, bomb()))
    if rng.random() < 0.2:
        found = rng.choice((f"[{found}]", f"{{a: {found}}}", f"{found}\n{rng.choice(YAML)}"))
    return found


def spoiled(value: Any, rng: random.Random, times: int | None = None) -> Any:
    """A JSON tree with some of its nodes replaced, dropped, doubled, renamed or nested."""
    for _ in range(times or rng.choice((1, 1, 1, 2, 5))):
        value = _spoiled_once(value, rng)
    return value


def _spoiled_once(value: Any, rng: random.Random) -> Any:
    inside = rng.random() < 0.85
    if inside and isinstance(value, dict) and value:
        key = rng.choice(list(value))
        return _in_mapping(value, key, rng)
    if inside and isinstance(value, list) and value:
        index = rng.randrange(len(value))
        act = rng.random()
        if act < 0.1:
            return [*value[:index], *value[index + 1 :]]
        if act < 0.2:
            return [*value, value[index]]
        return [*value[:index], _spoiled_once(value[index], rng), *value[index + 1 :]]
    return rng.choice(
        (
            rng.choice(VALUES),
            rng.choice(VALUES),
            rng.choice(VALUES),
            [value],
            {"a": value},
            str(value),
        )
    )


def _in_mapping(value: dict[str, Any], key: str, rng: random.Random) -> dict[str, Any]:
    act = rng.random()
    rest = {name: each for name, each in value.items() if name != key}
    if act < 0.1:
        return rest
    if act < 0.15:
        return {
            **rest,
            rng.choice(("", "\x1b[1m", LONG[:500], f"{key}x", "\ud800", "a.b")): value[key],
        }
    if act < 0.2:
        return {**value, str(rng.choice(("extra", "id", "0", "__class__"))): rng.choice(VALUES)}
    return {**value, key: _spoiled_once(value[key], rng)}


def json_text(value: Any, rng: random.Random | None = None) -> str:
    """A value's JSON, also what JSON has no word for; sometimes with a key twice or very deep."""
    text = json.dumps(value, ensure_ascii=rng is None or rng.random() < 0.5)
    if rng is not None and rng.random() < 0.05:
        text = text.replace("{", '{"a": 1, "a": 2, ', 1)
    if rng is not None and rng.random() < 0.03:
        text = rng.choice(
            ("[" * DEEP, '{"a":' * DEEP, "[" * DEEP + "]" * DEEP, "1" * 5000, text * 2)
        )
    return text


def spoiled_bytes(data: bytes, rng: random.Random) -> bytes:
    """Bytes with bits flipped, cut off, with holes, doubled parts or garbage."""
    ways: Sequence[Callable[[], bytes]] = (
        lambda: _flipped(data, rng, 1),
        lambda: _flipped(data, rng, 8),
        lambda: _flipped(data, rng, max(1, len(data) // 50)),
        lambda: data[: rng.randrange(len(data) + 1)],
        lambda: data[rng.randrange(len(data) + 1) :],
        lambda: _hole(data, rng),
        lambda: _inserted(data, rng, rng.randbytes(rng.choice((1, 4, 100)))),
        lambda: _inserted(data, rng, data[: rng.randrange(len(data) + 1)]),
        lambda: _overwritten(data, rng, rng.choice((b"\x00", b"\xff")) * rng.choice((1, 8, 64))),
        lambda: rng.choice((b"", b"\x00", b"\n", b"\xff\xfe", rng.randbytes(64), data * 2)),
    )
    return rng.choice(ways)()


def spoiled_text(text: str, rng: random.Random) -> bytes:
    """A text as a file may hold it: spoiled as bytes, in another encoding, with odd characters."""
    data = text.encode("utf-8", "surrogatepass")
    odd = rng.choice(
        ("\x00", "\x1b[2J", "\r", "\u2028", "\ufeff", "\t", '"', "'", "{", "\\", "é", LONG)
    )
    ways: Sequence[Callable[[], bytes]] = (
        lambda: spoiled_bytes(data, rng),
        lambda: spoiled_bytes(data, rng),
        lambda: b"\xef\xbb\xbf" + data,
        lambda: text.encode("utf-16", "surrogatepass"),
        lambda: text.encode("latin-1", "replace") + b"\xe9",
        lambda: _inserted(data, rng, odd.encode()),
        lambda: data.replace(b"\n", rng.choice((b"\r\n", b"\r", b"", b"\n\n"))),
        lambda: _swapped_lines(data, rng),
    )
    return rng.choice(ways)()


def _flipped(data: bytes, rng: random.Random, count: int) -> bytes:
    out = bytearray(data)
    for _ in range(count if out else 0):
        out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def _hole(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data) + 1)
    return data[:start] + data[start + rng.choice((1, 7, 200)) :]


def _inserted(data: bytes, rng: random.Random, more: bytes) -> bytes:
    start = rng.randrange(len(data) + 1)
    return data[:start] + more + data[start:]


def _overwritten(data: bytes, rng: random.Random, more: bytes) -> bytes:
    start = rng.randrange(len(data) + 1)
    return data[:start] + more + data[start + len(more) :]


def _swapped_lines(data: bytes, rng: random.Random) -> bytes:
    lines = data.split(b"\n")
    rng.shuffle(lines)
    return b"\n".join(lines)
