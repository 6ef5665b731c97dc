"""Entropy analysis: how sure a translator is of its own words, where it repeats and elsewhere.

The paper argues that a repeated token adds no information. Here every step of a model's own
output has its entropy H_t under that model, and the gain H_(t-1) - H_t; steps are `repeated`
where the token stands among the `window` before it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from harness.losses import at_head
from harness.models.batches import in_batches
from harness.models.cutting import report_cut
from harness.models.prompts import TranslationPrompt
from harness.models.translator import EncodedPair, Translator
from methods.ctsd.loss import recurring

CHUNK = 256
"""Positions projected onto the vocabulary at once."""

Floats = NDArray[np.float64]


class Steps(NamedTuple):
    """Steps of a model's outputs, but for each output's first: [steps] each."""

    entropy: Floats
    """H_t, in nats."""
    gain: Floats
    """H_(t-1) - H_t, in nats."""
    repeated: NDArray[np.bool_]
    """Whether the token stands among the window before it."""


def analyse(
    model: Translator, prompts: Sequence[TranslationPrompt], outputs: Sequence[str], window: int
) -> Steps:
    """Entropies of a model at the steps of its own outputs, the texts tokenized anew."""
    parts: list[Steps] = []
    pairs = model.encode(prompts, outputs)
    report_cut([repr(p.text[:40]) for p, pair in zip(prompts, pairs, strict=True) if pair.cut])
    order = sorted(range(len(pairs)), key=lambda i: -len(pairs[i].target))

    def read(some: Sequence[int]) -> None:
        parts.append(_steps(model, [pairs[i] for i in some], window))

    in_batches(model, order, read)
    return Steps(*(np.concatenate(column) for column in zip(*parts, strict=True)))


@torch.inference_mode()
def _steps(model: Translator, pairs: Sequence[EncodedPair], window: int) -> Steps:
    batch = model.collate(pairs)
    inputs = {name: value.to(model.device) for name, value in batch.items()}
    labels, mask = inputs.pop("labels"), inputs.pop("label_mask")
    entropy = at_head(model.module, inputs, _entropies)
    follows = mask[:, 1:] & mask[:, :-1]
    return Steps(
        entropy[:, 1:][follows].double().cpu().numpy(),
        (entropy[:, :-1] - entropy[:, 1:])[follows].double().cpu().numpy(),
        recurring(labels, mask, window)[:, 1:][follows].cpu().numpy(),
    )


def _entropies(hidden: Tensor, head: Tensor, bias: Tensor | None) -> Tensor:
    """-sum_v p log p at every position, a chunk of them at a time, fp32 [batch, length]."""
    found = []
    for part in hidden.flatten(0, 1).split(CHUNK):
        log_p = functional.linear(part, head, bias).float().log_softmax(-1)
        found.append(-(log_p.exp() * log_p).sum(-1))
    return torch.cat(found).view(hidden.shape[:2])


def summary(steps: Steps) -> dict[str, float | int | None]:
    """Means at repeated and at other steps, and how many there are of each."""
    found: dict[str, float | int | None] = {}
    for name, chosen in (("repeated", steps.repeated), ("other", ~steps.repeated)):
        found[f"{name}_steps"] = int(chosen.sum())
        for column in ("entropy", "gain"):
            values = getattr(steps, column)[chosen]
            found[f"{name}_{column}"] = float(values.mean()) if len(values) else None
    return found


def plot(steps: Mapping[str, Steps], path: Path, title: str) -> None:
    """Draw the distributions at repeated and at other steps, a column per system, into a file."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.2 * len(steps) + 0.8, 5.4), layout="constrained")
    axes: Any = figure.subplots(2, len(steps), sharex="row", sharey="row", squeeze=False)
    for column, (name, of) in enumerate(steps.items()):
        axes[0, column].set_title(name)
        for row, (label, values) in enumerate((("H", of.entropy), ("gain", of.gain))):
            axis = axes[row, column]
            bins = np.linspace(
                *_range([getattr(each, _FIELDS[row]) for each in steps.values()]), 41
            )
            for kind, chosen in (("repeated", of.repeated), ("other", ~of.repeated)):
                if chosen.any():
                    mean = values[chosen].mean()
                    shown = f"{kind}: mean {mean:.2f}, n {chosen.sum():,}"
                    inside = np.clip(values[chosen], bins[0], bins[-1])
                    axis.hist(inside, bins, density=True, histtype="step", label=shown)
            axis.set_xlabel(f"{label} (nats)")
            axis.legend(fontsize="x-small")
        axes[0, 0].set_ylabel("density")
        axes[1, 0].set_ylabel("density")
    figure.suptitle(title)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


_FIELDS = ("entropy", "gain")


def _range(columns: Sequence[Floats]) -> tuple[float, float]:
    """Where 99 % of all values lie."""
    low, high = np.percentile(np.concatenate(columns), [0.5, 99.5])
    return float(low), float(max(high, low + 1e-9))
