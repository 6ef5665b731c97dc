r"""Text as a terminal may have it: control characters escaped, as JSON escapes them.

A name, a category or an answer comes from a file or another's package. An escape sequence in it
would recolour or clear the screen, a right-to-left override would turn a line about, a line break
would forge a row. `\u001b` stands for what it is, and what was JSON remains the same JSON.
"""

import json
import re

CONTROL = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # C0, DEL, C1
    "\xad\u061c\u180e\u200b\u200e\u200f"  # soft hyphen, marks of direction, no width
    "\u2028-\u202e\u2060-\u2064\u2066-\u206f"  # ends of lines, overrides and isolates of direction
    "\ufeff\ufff9-\ufffb"  # byte order mark, annotations
    "\ud800-\udfff"  # halves of characters
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f"  # formats, tags
    "]"
)
"""What shows nothing itself and changes how other text looks. Joiners (U+200C, U+200D), which
scripts and emoji are written with, are none."""


def shown(text: str) -> str:
    """Return one line of text with every control character escaped."""
    return CONTROL.sub(_escaped, text)


def shown_lines(text: str) -> str:
    """Return text of several lines with every control character but tabs and line feeds escaped."""
    return CONTROL.sub(lambda found: found[0] if found[0] in "\n\t" else _escaped(found), text)


def echo(text: str, err: bool = False) -> None:
    """Print text of several lines, escaped, on standard output or standard error."""
    import typer

    typer.echo(shown_lines(text), err=err)


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\u{code:04x}" if code < 2**16 else json.dumps(found[0])[1:-1]
