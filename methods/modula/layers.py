"""MoDULA's linear layers (arXiv 2412.07405).

A token x in R^d_in, a frozen W0 [d_out, d_in], experts A_i (down) and B_i (up), s = softmax(W_R x):

    molora                  y = W0 x + sum_i s_i B_i A_i x
    flan                    the same over the universal expert and the domain experts
    res                     y = W0 x + h + sum_i s_i B_i LeakyReLU(A_i h)        with h = B* A* x
    res-without-residual    the same without h as a term of its own
"""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from harness.errors import HarnessError, suggestion
from methods.modula.product import adapted_product

Form = Literal["molora", "flan", "res", "res-without-residual"]
UNIVERSAL, ROUTER, ALL = "universal", "router", "all"


class Expert(nn.Module):
    """Two low-rank projections: `down` A [rank, d_read], Kaiming; `up` B [d_out, rank], zero.

    In fp32 at least, as optimizers need it; products are made in the data's precision.
    """

    def __init__(self, rank: int, read: int, like: Tensor) -> None:
        super().__init__()
        self.down = nn.Parameter(_wide(like, rank, read))
        self.up = nn.Parameter(_wide(like, len(like), rank).zero_())
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))  # as nn.Linear and peft


class AdaptedLinear(nn.Module):
    """A frozen linear layer with its experts and their router; `weight` and `bias` keep their keys.

    All experts are one product down and one product up. Each keeps parameters of its own, so that
    one can train while an optimizer never sees the others.
    """

    owners: Tensor
    """1 where a rank of the concatenated projections is an expert's, [experts, ranks]."""
    universal: Expert

    def __init__(
        self,
        linear: nn.Linear,
        form: Form,
        ranks: Mapping[str, int],
        universal_rank: int = 16,
        slope: float = 0.01,
    ) -> None:
        """As `adapt`. `linear` is left as it is; its weights are shared."""
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        self.form, self.slope = form, slope
        self.routing: Mapping[str, float] | None = None
        self.keeps_shares = False
        self.shares: Tensor | None = None
        """What the router gave in the last forward pass, [..., experts], where it is kept."""
        if form != "molora":
            self.universal = self._expert(UNIVERSAL, universal_rank, self.weight.shape[1])
        self.experts = nn.ModuleDict()
        self.router = nn.Parameter(self._router_rows(1 if form == "flan" else 0))
        self.register_buffer("owners", None, persistent=False)
        for name, rank in ranks.items():
            self.extend(name, rank)
        self._index()
        self.train(linear.training)

    def forward(self, x: Tensor) -> Tensor:
        """[..., d_in] -> [..., d_out]."""
        experts = self._active()
        if not experts and self.form != "res":
            return functional.linear(x, self.weight, self.bias)
        device = x.device.type
        autocast = torch.is_autocast_enabled(device)
        dtype = torch.get_autocast_dtype(device) if autocast else x.dtype
        wide = torch.promote_types(dtype, torch.float32)
        x, weight = x.to(dtype), self.weight.to(dtype)
        bias = None if self.bias is None else self.bias.to(dtype)
        ups, mix, router = self._ups(experts), None, None
        downs: list[Tensor] = [expert.down for expert in experts.values()]
        if experts and self.routing is None:
            router = self.router.to(wide)
        if self.reads_universal:
            if experts:  # A_i h = (A_i B*) (A* x): h, as wide as the layer, is never made.
                mix = (torch.cat(downs) @ self.universal.up).to(dtype)
            downs = [self.universal.down]
        if self.form == "res":
            ups = [self.universal.up, *ups]
        down, up = torch.cat(downs).to(dtype), torch.cat(ups, 1).to(dtype)
        y, shares = adapted_product(x, weight, bias, down, up, mix, router, self.owners, self.slope)
        if self.keeps_shares and shares is not None:
            self.shares = shares
        return y

    @property
    def reads_universal(self) -> bool:
        """Whether the experts read the universal expert's output h, and not x."""
        return self.form in ("res", "res-without-residual")

    @property
    def ranks(self) -> dict[str, int]:
        """Rank of each domain expert, in the order of the router's rows."""
        return {name: len(expert.down) for name, expert in self._domains.items()}

    @property
    def routed(self) -> dict[str, Expert]:
        """The experts that share a token, in the order of the router's rows."""
        first = {UNIVERSAL: self.universal} if self.form == "flan" else {}
        return {**first, **self._domains}

    def part(self, name: str) -> list[nn.Parameter]:
        """The parameters of 'universal', 'router', a domain expert, or 'all' of these."""
        experts = self._domains
        if self.form != "molora":
            experts[UNIVERSAL] = self.universal
        parts = {each: list(expert.parameters()) for each, expert in experts.items()}
        parts[ROUTER] = [self.router]
        if name == ALL:
            return [parameter for part in parts.values() for parameter in part]
        if name not in parts:
            raise unknown(name, parts)
        return parts[name]

    def extend(self, name: str, rank: int) -> None:
        """Add a domain expert and its row of the router; a fixed routing ends."""
        _check_name(name, self.experts)
        read = self.weight.shape[0 if self.reads_universal else 1]
        self.experts[name] = self._expert(name, rank, read)
        self._set_router(torch.cat([self.router.detach(), self._router_rows(1)]))

    def remove(self, name: str) -> None:
        """Take a domain expert and its row of the router away; a fixed routing ends."""
        if name not in self.experts:
            raise unknown(name, self.experts)
        row = list(self.routed).index(name)
        del self.experts[name]
        kept = self.router.detach()
        self._set_router(torch.cat([kept[:row], kept[row + 1 :]]))

    def route(self, shares: Mapping[str, float] | None) -> None:
        """Fix the shares by expert, those not named left out; None: the router decides."""
        for name in shares or {}:
            if name not in self.routed:
                raise unknown(name, self.routed)
        self.routing = None if shares is None else dict(shares)

    @property
    def _domains(self) -> dict[str, Expert]:
        return cast(dict[str, Expert], dict(self.experts.items()))

    def _active(self) -> dict[str, Expert]:
        """Experts with a share; the others cost nothing."""
        routing = self.routing
        if routing is None:
            return self.routed
        return {name: expert for name, expert in self.routed.items() if name in routing}

    def _ups(self, experts: Mapping[str, Expert]) -> list[Tensor]:
        """Up-projections, with the shares in them where these are fixed."""
        if self.routing is None:
            return [expert.up for expert in experts.values()]
        return [self.routing[name] * expert.up for name, expert in experts.items()]

    def _expert(self, name: str, rank: int, read: int) -> Expert:
        if rank < 1:
            raise HarnessError(f"expert '{name}' has rank {rank}: give 1 or more.")
        return Expert(rank, read, self.weight)

    def _router_rows(self, count: int) -> Tensor:
        return _wide(self.weight, count, self.weight.shape[1]).normal_(0.0, 0.02)

    def _set_router(self, rows: Tensor) -> None:
        self.router = nn.Parameter(rows, self.router.requires_grad)
        self.routing = None
        self._index()

    def _index(self) -> None:
        """Which expert each rank of the concatenated projections belongs to."""
        sizes = [len(expert.down) for expert in self.routed.values()]
        ranks = torch.tensor(sizes, dtype=torch.long, device="cpu")
        of_rank = torch.arange(len(sizes), device="cpu").repeat_interleave(ranks)
        owners = functional.one_hot(of_rank, max(len(sizes), 1)).T
        self.owners = owners.to(self.router.device, self.router.dtype)


def unknown(name: str, known: Iterable[str]) -> HarnessError:
    """What to tell a user who names an expert that is not there."""
    there = ", ".join(known) or "none"
    return HarnessError(f"no expert '{name}'. {suggestion(name, known)}There are: {there}.")


def _check_name(name: str, taken: nn.ModuleDict) -> None:
    if name in taken:
        raise HarnessError(f"expert '{name}' is there already: remove it, or choose another name.")
    if not re.fullmatch(r"[\w-]+", name):
        raise HarnessError(f"expert '{name}': a name has letters, digits, '_' and '-' alone.")
    if name in (UNIVERSAL, ROUTER, ALL) or hasattr(taken, name):
        raise HarnessError(f"expert '{name}': the name is taken: choose another.")


def _wide(like: Tensor, *shape: int) -> Tensor:
    """An empty tensor on the device of another, in its precision but fp32 at least."""
    dtype = torch.promote_types(like.dtype, torch.float32)
    return torch.empty(*shape, dtype=dtype, device=like.device)
