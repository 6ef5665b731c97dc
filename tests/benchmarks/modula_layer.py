"""What a layer of MoDULA costs: beside peft's LoRA of its total rank, and beside a loop."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from methods.modula.layers import AdaptedLinear, Form
from tests.benchmarks.measure import Comparison, interleaved

RANK, UNIVERSAL = 8, 16
SHAPES = {128: 448, 1024: 2048}
"""Width of the layer -> tokens of a batch: the lab's model, and the least used in earnest."""
EXPERTS = ("math", "code", "medicine", "finance")
FORMS: tuple[Form, ...] = ("molora", "res")
SAME_OUTPUT = 1e-4


def loop(layer: AdaptedLinear, x: Tensor) -> Tensor:
    """The equations with each expert's output made, weighted and added in turn."""
    y = functional.linear(x, layer.weight, layer.bias)
    shares = functional.linear(x, layer.router).softmax(-1)
    read = x
    if layer.reads_universal:
        read = functional.linear(functional.linear(x, layer.universal.down), layer.universal.up)
        y = y + read
    for index, expert in enumerate(layer.routed.values()):
        inner = functional.linear(read, expert.down)
        if layer.reads_universal:
            inner = functional.leaky_relu(inner, layer.slope)
        y = y + shares[:, index : index + 1] * functional.linear(inner, expert.up)
    return y


def lora(width: int, rank: int) -> nn.Module:
    """peft's layer of a rank, scale 1, in fp32 as ours."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=["linear"])
    adapted = get_peft_model(nn.ModuleDict({"linear": nn.Linear(width, width)}), config)
    layer: nn.Module = adapted.base_model.model.linear
    return layer


def step(function: Callable[[Tensor], Tensor], layer: nn.Module, x: Tensor) -> Callable[[], None]:
    """Forward and backward, to the adapters and to what the layer reads; W0 is frozen."""
    outer = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))

    def run() -> None:
        x.grad = None
        layer.zero_grad()
        function(x).backward(outer)

    return run


def run(rounds: int, clock: Callable[[], float]) -> Iterator[Comparison]:
    """Seconds of a forward and backward pass, everything that is an adapter's training."""
    for width, tokens in SHAPES.items():
        seed = torch.Generator().manual_seed(0)
        x = torch.randn(tokens, width, generator=seed, requires_grad=True)
        for form in FORMS:
            yield from _of_form(form, x, rounds, clock)


def _of_form(
    form: Form, x: Tensor, rounds: int, clock: Callable[[], float]
) -> Iterator[Comparison]:
    width = x.shape[1]
    linear = nn.Linear(width, width).requires_grad_(False)
    layer = AdaptedLinear(linear, form, dict.fromkeys(EXPERTS, RANK), UNIVERSAL)
    for parameter in layer.part("all"):
        nn.init.normal_(parameter, std=0.02)
    if (layer(x) - loop(layer, x)).abs().max() > SAME_OUTPUT:
        raise SystemExit(f"form '{form}': the layer and the loop differ")
    rank = len(EXPERTS) * RANK + (UNIVERSAL if form == "res" else 0)
    single = lora(width, rank)
    ours = step(layer, layer, x)
    slow = step(lambda x: loop(layer, x), layer, x)
    sides: dict[str, tuple[Callable[[], None], Callable[[], None], float | None]] = {
        f"MoDULA layer / peft's LoRA of rank {rank}": (ours, step(single, single, x), 1.5),
        "MoDULA layer / a loop over 4 experts": (ours, slow, 0.5),
        "W0 alone / a loop over 4 experts": (step(linear, linear, x), slow, None),
    }
    often = rounds if width == max(SHAPES) else 20 * rounds  # milliseconds
    for what, (one, other, bound) in sides.items():
        seconds = interleaved(one, other, often, clock, warm_up=2)
        yield Comparison(f"{what} ({form}, {width} wide)", "s", *seconds, bound=bound)
