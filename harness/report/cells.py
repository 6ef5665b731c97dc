"""What tables of results have in their cells."""

from collections.abc import Iterable

from harness.contrast import ALPHA, Contrast
from harness.report.blocks import CHECKPOINT, ROUGH

TESTED = ["difference", "p (Holm)", "verdict"]


def verdict(contrast: Contrast) -> str:
    """What a contrast says, of what, and how surely."""
    said: str = contrast.verdict
    if contrast.checkpoint and said != "no evidence":
        said = f"{CHECKPOINT}{said}"
    return f"{said}{ROUGH}" if contrast.rough else said


def footnotes(
    contrasts: Iterable[Contrast], family: str, lab: bool, rough: bool = False
) -> list[str]:
    """What the cells of these contrasts mean.

    Args:
        family: what Holm's correction runs over.
        rough: whether another cell than a contrast's is.
    """
    shown, notes = list(contrasts), []
    if shown:
        over = f" over {len(shown)} comparisons: {family}" if len(shown) > 1 else ""
        notes.append(
            f"[95 % interval]; p after Holm{over}; a verdict where p < {ALPHA}; "
            "detectable: smallest true difference found with 80 % power."
        )
    if any(each.checkpoint for each in shown):
        notes.append(
            "this checkpoint: trained on one seed, so that the verdict is of these weights and not "
            "of the method, which other seeds may contradict; --seeds 3 says more."
        )
    if rough or any(each.rough for each in shown):
        notes.append(
            "rough: too few items, clusters or changes, or too uneven ones, for the interval to "
            "hold what it says."
        )
    if lab:
        notes.append("lab: a small made-up world, not the public benchmark of that name.")
    return notes


def size(n: int, clusters: int) -> str:
    items = counted(n, "item")
    return f"{items} in {counted(clusters, 'cluster')}" if clusters < n else items


def detectable(contrast: Contrast | None) -> list[str]:
    if contrast is None or contrast.p is None:
        return []
    least = contrast.detectable
    return ["nothing detectable"] if least is None else [f"detectable from {number(least)}"]


def title(task: str, lab: bool, primary: str, higher_is_better: bool) -> str:
    direction = "↑ higher is better" if higher_is_better else "↓ lower is better"
    return f"{marked(task, lab)}: {primary} {direction}"


def marked(name: str, lab: bool) -> str:
    return f"{name} (lab)" if lab else name


def number(value: float | None) -> str:
    """Three decimals, fewer for large numbers."""
    decimals = 3 if value is None or abs(value) < 10 else 2 if abs(value) < 100 else 1
    return "-" if value is None else f"{value:.{decimals}f}"


def signed(value: float) -> str:
    return f"{'+' if value >= 0 else ''}{number(value)}"


def interval(low: float | None, high: float | None, rough: bool = False) -> str:
    if low is None or high is None:
        return ""
    return f" [{number(low)}, {number(high)}]{ROUGH * rough}"


def difference(contrast: Contrast) -> str:
    if contrast.difference is None:
        return "undefined"
    if contrast.low is None or contrast.high is None:
        return signed(contrast.difference)
    bounds = f"[{signed(contrast.low)}, {signed(contrast.high)}]"
    return f"{signed(contrast.difference)} {bounds}"


def p_value(p: float | None) -> str:
    return "-" if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"


def big(count: int) -> str:
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= size:
            return f"{count / size:.3g}{unit}"
    return str(count)


def counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def secondary(metrics: dict[str, str], primary: str) -> list[str]:
    shown = [f"{name} {value}" for name, value in metrics.items() if name != primary]
    return [join(shown)] if shown else []


def join(parts: Iterable[str]) -> str:
    # No-break spaces: a wrapped line never parts a name from its value.
    return "; ".join(part.replace(" ", "\u00a0") for part in parts)
