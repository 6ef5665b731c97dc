"""Settings as the command line says them. Nothing heavy is imported for it."""

from collections.abc import Iterable

from harness.errors import HarnessError


def pairs(option: str, given: Iterable[str]) -> dict[str, str]:
    """What the command line says as NAME=VALUE under an option that may stand several times."""
    found = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise HarnessError(f"{option} takes NAME=VALUE, not '{text}'.")
        found[key.strip()] = value
    return found


def by_comma(given: str | None) -> list[str]:
    """What the command line says by comma."""
    return [name.strip() for name in (given or "").split(",") if name.strip()]
