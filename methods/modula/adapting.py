"""What is done with a whole model: adapting, extending, routing, choosing what trains, merging."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from harness.errors import HarnessError, suggestion
from methods.modula.layers import AdaptedLinear, Form


def adapt(
    module: nn.Module,
    targets: Sequence[str] | str,
    form: Form,
    ranks: Mapping[str, int],
    universal_rank: int = 16,
    slope: float = 0.01,
) -> list[str]:
    """Put an adapted layer in the place of linear layers; all of the model's own weights freeze.

    Args:
        module: any model; changed in place.
        targets: as peft's `target_modules`: ends of names, a regular expression for whole names,
            or 'all-linear', which leaves the output head out.
        form: which of the equations.
        ranks: of the domain experts by name; none where only the universal expert is wanted yet.
        universal_rank: of every form but 'molora', which has no universal expert.
        slope: of LeakyReLU.

    Returns:
        Names of the adapted layers. The base's output is unchanged until something trains.
    """
    names = matched(module, targets)
    made = {}
    for name in names:
        linear = module.get_submodule(name)
        assert isinstance(linear, nn.Linear)
        made[name] = AdaptedLinear(linear, form, ranks, universal_rank, slope)
    install(module, made)
    return names


def matched(module: nn.Module, targets: Sequence[str] | str) -> list[str]:
    """Names of the linear layers that targets mean, as `adapt` reads them."""
    refuse_adapted(module)
    head = getattr(module, "get_output_embeddings", lambda: None)()
    linears = {n: each for n, each in module.named_modules() if type(each) is nn.Linear}
    if targets == "all-linear":
        names = {name for name, linear in linears.items() if linear is not head}
    elif isinstance(targets, str):
        names = _matches(targets, targets, linears)
    else:
        ends = [_matches(target, rf"(.*\.)?{re.escape(target)}", linears) for target in targets]
        names = {name for end in ends for name in end}
    if any(linears[name] is head for name in names):
        raise HarnessError(f"targets {targets}: the output head cannot be adapted: leave it out.")
    if not names:
        raise HarnessError(f"targets {targets}: no linear layer to adapt: name some.")
    return [name for name in linears if name in names]


def refuse_adapted(module: nn.Module) -> None:
    """Raise where a model has adapted layers already."""
    if any(isinstance(each, AdaptedLinear) for each in module.modules()):
        raise HarnessError("the model has MoDULA's layers already: extend them, or load its base.")


def install(module: nn.Module, layers: Mapping[str, AdaptedLinear]) -> None:
    """Put layers in the place of the linear ones they were made from; all else freezes."""
    module.requires_grad_(False)
    for name, layer in layers.items():
        parent, _, child = name.rpartition(".")
        setattr(module.get_submodule(parent), child, layer)


def adapted(module: nn.Module) -> dict[str, AdaptedLinear]:
    """The adapted layers of a model by name; it must have some."""
    layers = {n: each for n, each in module.named_modules() if isinstance(each, AdaptedLinear)}
    if not layers:
        raise HarnessError("the model has none of MoDULA's layers: adapt it first.")
    return layers


def extend(module: nn.Module, name: str, rank: int) -> None:
    """Add a domain expert to every layer, and its row to the routers; the others stay as they are.

    The new expert says nothing before it trains, but the router already gives it a share.
    """
    for layer in adapted(module).values():
        layer.extend(name, rank)


def remove(module: nn.Module, name: str) -> None:
    """Take a domain expert and its row of the routers away; the others stay as they are."""
    for layer in adapted(module).values():
        layer.remove(name)


def route(module: nn.Module, shares: Mapping[str, float] | None) -> None:
    """Fix every layer's shares by expert, those not named left out; None: the routers decide.

    Stage 2 trains and asks one expert alone, `{"math": 1.0}`; uniform and oracle routing are
    controls. `{}` leaves the base, in 'res' with the universal expert.
    """
    for layer in adapted(module).values():
        layer.route(shares)


def trainable(module: nn.Module, part: str) -> None:
    """Let one part train and nothing else: 'universal', a domain expert, 'router', or 'all'."""
    chosen = [parameter for layer in adapted(module).values() for parameter in layer.part(part)]
    module.requires_grad_(False)
    for parameter in chosen:
        parameter.requires_grad_(True)


@torch.no_grad()
def merge(module: nn.Module) -> None:
    """Add the universal expert to the base weights: y = W0' x + sum_i s_i B_i LeakyReLU(A_i h).

    The layers are then of the form 'res-without-residual'. Raises where the form is not 'res': no
    other adds h to every token.
    """
    for layer in adapted(module).values():
        if layer.form != "res":
            raise HarnessError(
                f"form '{layer.form}' cannot be merged: only 'res' adds the universal expert to "
                "every token."
            )
        universal = layer.universal.up @ layer.universal.down
        layer.weight.copy_((layer.weight + universal).to(layer.weight.dtype))
        layer.form = "res-without-residual"


@contextmanager
def keeping_shares(module: nn.Module) -> Iterator[None]:
    """Layers keep what their routers give in a forward pass, for `mean_shares`."""
    for layer in adapted(module).values():
        layer.keeps_shares = True
    try:
        yield
    finally:
        for layer in adapted(module).values():
            layer.keeps_shares, layer.shares = False, None


def mean_shares(module: nn.Module, mask: Tensor) -> dict[str, Tensor]:
    """Each expert's mean share of the tokens in the last forward pass, by layer.

    Args:
        module: within `keeping_shares`, with routing left to the routers.
        mask: tokens that count, [batch, length] as in that pass.

    Returns:
        Layer name -> shares that sum to 1, in the order of `AdaptedLinear.routed`, [experts].
    """
    return {
        name: layer.shares.flatten(0, -2)[mask.flatten().bool()].mean(0)
        for name, layer in adapted(module).items()
        if layer.shares is not None
    }


def _matches(target: str, pattern: str, names: Iterable[str]) -> set[str]:
    """Names that a target means; it must mean one."""
    try:
        found = {name for name in names if re.fullmatch(pattern, name)}
    except re.error as error:
        raise HarnessError(f"target '{target}' is no regular expression: {error}.") from None
    if not found:
        near = suggestion(target, {name.rpartition(".")[2] for name in names})
        raise HarnessError(f"target '{target}' matches no linear layer. {near}".strip())
    return found


def share_alike(module: nn.Module) -> None:
    """Routers that give every expert the same share of every token."""
    with torch.no_grad():
        for layer in adapted(module).values():
            layer.router.zero_()
