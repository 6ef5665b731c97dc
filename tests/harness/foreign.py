"""Packages of strangers, written as an installer leaves them."""

from collections.abc import Mapping
from pathlib import Path


def package(
    site: Path, name: str, files: Mapping[str, str], points: Mapping[str, Mapping[str, str]]
) -> Path:
    """Write a distribution into a folder that is then put on the path.

    Args:
        files: path below `site` -> content.
        points: entry-point group -> name -> value.
    """
    for file, text in files.items():
        path = site / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    info = site / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entry_points(points))
    return site


def entry_points(points: Mapping[str, Mapping[str, str]]) -> str:
    """The text of `entry_points.txt`."""
    return "\n".join(
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in names.items())
        for group, names in points.items()
    )


METHOD = '''"""A method of a stranger."""

from harness.method import Method, MethodConfig


class Mine(Method):
    """Does nothing, politely."""

    role = "vision-language"
    trains = False

    def fit(self, fit):
        pass
'''

CARD = """name: {name}
summary: Yes-no questions of a stranger
family: foreign
format: tasks.multimodal.format:YesNo
version: 1
primary: f1
licence: MIT
cite: nobody
prompt: "{prompt}"
generation: {{max_new_tokens: 4}}
sources: {{}}
"""

CARDS = '"""Tasks of a stranger."""\n\nfrom harness.cards import cards\n\n'
CARDS += "__getattr__ = cards(__file__)\n"
