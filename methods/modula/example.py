"""A MoDULA checkpoint on plain transformers, nothing of ours: `model = load("BASE", "FOLDER")`."""

import json
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import leaky_relu
from transformers import AutoModelForCausalLM


def load(base: str, folder: str) -> nn.Module:
    """The base model with a forward hook on every layer that the folder adapts."""
    model = AutoModelForCausalLM.from_pretrained(base, trust_remote_code=False)
    said = json.loads(Path(folder, "modula.json").read_text(encoding="utf-8"))
    weights = load_file(f"{folder}/modula.safetensors")
    for name in said["targets"]:
        own = {k[len(name) + 1 :]: w.T for k, w in weights.items() if k.startswith(f"{name}.")}
        model.get_submodule(name).register_forward_hook(
            lambda _, inputs, y, own=own: (y + added(said, own, inputs[0].float())).to(y.dtype)
        )
    return model


def added(said: dict, own: dict[str, Tensor], x: Tensor) -> Tensor:
    """What the experts of a layer add to W0 x."""
    res, flan = said["form"].startswith("res"), said["form"] == "flan"
    read = x @ own["universal.down"] @ own["universal.up"] if res else x
    shares = (x @ own["router"]).softmax(-1)
    parts = [read] if said["form"] == "res" else []
    for i, name in enumerate(["universal"] * flan + [f"experts.{e}" for e in said["experts"]]):
        inner = read @ own[f"{name}.down"]
        inner = leaky_relu(inner, said["slope"]) if res else inner
        parts.append(shares[..., i : i + 1] * (inner @ own[f"{name}.up"]))
    return sum(parts[1:], parts[0])
