"""Log-probabilities of many texts that begin alike, each shared beginning computed once.

The texts of a group become a prefix tree (a trie of tokens), laid out as one sequence: a token sees
its ancestors alone and stands at its depth. One forward pass then gives log p(token | its path) for
every node, as exact as a pass per text.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from weakref import WeakSet

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.errors import HarnessError
from harness.losses import at_head, token_log_probs, unwrapped
from harness.models.batches import fits, halved
from harness.models.causal_lm import DELIMITER, CausalLM

MOST_NODES = 8192
"""Nodes of the trees that are run as one batch, padding included."""
NODES = {"cpu": 2048}
"""The same by kind of device, where it is fewer: what fits a processor's cache is read faster."""

WINDOWS = ("sliding_window", "window_size", "attention_chunk_size")
"""How far back some architectures see, by config field; a mask of our own knows nothing of it."""

TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-3}
"""Mean difference between a tree's log-probabilities and those of a pass per text, by dtype."""
HALF_TOLERANCE = 0.2

Ids = NDArray[np.int64]


class PrefixTree(NamedTuple):
    """The distinct beginnings of a group of texts, a node for each, parents before children.

    tokens: the last token of each beginning, [nodes].
    depth: how many tokens stand before it, [nodes].
    parent: node of the beginning without it, -1 at a first token, [nodes].
    paths: per text, the node of each of its tokens.
    """

    tokens: Ids
    depth: Ids
    parent: Ids
    paths: list[Ids]

    def ancestors(self) -> NDArray[np.bool_]:
        """Which nodes a node sees: those on its path and itself, [nodes, nodes]."""
        sees = np.eye(len(self.tokens), dtype=bool)
        for path in self.paths:
            sees[path[:, None], path[None, :]] |= np.tri(len(path), dtype=bool)
        return sees


def prefix_tree(texts: Sequence[Sequence[int]]) -> PrefixTree:
    """The prefix tree of texts given as token ids, each of at least one token."""
    lengths = np.array([len(text) for text in texts])
    ids = np.full((len(texts), lengths.max()), -1, dtype=np.int64)
    for row, text in zip(ids, texts, strict=True):
        row[: len(text)] = text
    order = np.lexsort(ids.T[::-1])
    ids, lengths = ids[order], lengths[order]
    # Sorted, a text shares its longest beginning with the one before it.
    alike = np.cumprod(ids[1:] == ids[:-1], axis=1).sum(1)
    shared = np.minimum(np.concatenate([[0], alike]), lengths)
    place = np.arange(ids.shape[1])
    new = (place >= shared[:, None]) & (place < lengths[:, None])
    node = np.where(new, np.cumsum(new).reshape(new.shape) - 1, -1)
    node = np.maximum.accumulate(node, axis=0)
    before = np.concatenate([np.full((len(ids), 1), -1), node[:, :-1]], axis=1)
    depth = np.broadcast_to(place, ids.shape)[new]
    paths = [np.empty(0, dtype=np.int64)] * len(texts)
    for row, length, text in zip(node, lengths, order, strict=True):
        paths[text] = row[:length]
    return PrefixTree(ids[new], depth, before[new], paths)


def tree_log_probs(module: nn.Module, trees: Sequence[PrefixTree]) -> list[Tensor]:
    """log p(token | its path) of every node but the first tokens, which nothing predicts.

    Args:
        module: a causal language model of transformers with a linear head, whose attention takes
            a mask of its own (`sdpa` or `eager`).
        trees: run as one batch, padded to the largest.

    Returns:
        Per tree fp32 [nodes], zero at first tokens.

    Raises:
        HarnessError: where the model does not read trees, see `check_reads_trees`.
    """
    check_reads_trees(module, max(int(tree.depth.max()) for tree in trees))
    return _log_probs(module, trees)


def _log_probs(module: nn.Module, trees: Sequence[PrefixTree]) -> list[Tensor]:
    inputs, parents = _batch(trees, next(module.parameters()))
    chosen = parents >= 0
    rows = torch.arange(len(trees), device=parents.device)[:, None].expand_as(parents)
    labels = inputs["input_ids"][chosen]

    def project(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        before = hidden[rows[chosen], parents[chosen]]
        return token_log_probs(before, weight, labels, head_bias=bias)

    log_probs = at_head(module, inputs, project)
    found = log_probs.new_zeros(parents.shape).masked_scatter(chosen, log_probs)
    return [row[: len(tree.tokens)] for row, tree in zip(found, trees, strict=True)]


_reads_trees: WeakSet[nn.Module] = WeakSet()
"""Models that were tried."""


def check_reads_trees(module: nn.Module, depth: int) -> None:
    """Raise `HarnessError` where a model does not see and number the tokens that it is told to.

    It is tried on a small tree, once: recurrent models, biases by distance and other kinds of
    attention read one sequence alone. A limited view back is no hindrance up to its length.

    Args:
        depth: tokens before the last one of the longest text.
    """
    config = unwrapped(module).config.get_text_config()
    kind = config.model_type
    for name in WINDOWS:
        window = getattr(config, name, None)
        if window and depth >= window:
            raise HarnessError(
                f"{kind}: a text of {depth + 1} tokens is longer than this model sees back "
                f"({name} {window}), which scoring many texts at once does not know: shorten the "
                "texts, or take a model without it."
            )
    if module in _reads_trees:
        return
    try:
        difference = _difference_from_plain(module)
    except (TypeError, ValueError, RuntimeError, IndexError) as error:
        reason = " ".join(str(error).split())[:120]
        raise HarnessError(
            f"{kind}: does not take a mask and positions of its own ({reason}), which scoring many "
            "texts at once needs: take another architecture, such as Llama or Qwen."
        ) from None
    parameter = next(module.parameters())
    if not difference <= TOLERANCE.get(parameter.dtype, HALF_TOLERANCE):
        raise HarnessError(
            f"{kind}: reads many texts at once otherwise than one by one (log-probabilities differ "
            f"by {difference:.2g}): take another architecture, such as Llama or Qwen."
        )
    _reads_trees.add(module)


@torch.no_grad()
def _difference_from_plain(module: nn.Module) -> float:
    """Mean difference of log-probabilities between a small tree and a pass per text."""
    texts = [[1, 2, 3, *range(1, 13)], [1, 2, 3, 2, 2, 1, 3], [1, 3, 1]]
    vocabulary = unwrapped(module).config.get_text_config().vocab_size
    texts = [[token % vocabulary for token in text] for text in texts]
    tree = prefix_tree(texts)
    (found,) = _log_probs(module, [tree])
    differences = []
    for text, path in zip(texts, tree.paths, strict=True):
        ids = torch.tensor([text], device=found.device)
        logits = module(input_ids=ids, use_cache=False).logits[0, :-1].float()
        plain = logits.log_softmax(-1).gather(1, ids[0, 1:, None]).squeeze(1)
        differences.append((found[torch.from_numpy(path[1:]).to(found.device)] - plain).abs())
    return float(torch.cat(differences).mean())


def _batch(trees: Sequence[PrefixTree], like: Tensor) -> tuple[dict[str, Any], Tensor]:
    """What the forward pass takes, and each node's parent, -1 at first tokens and padding."""
    length = max(len(tree.tokens) for tree in trees)
    shape = (len(trees), length)
    tokens, depth = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    parent = np.full(shape, -1, np.int64)
    # Padding sees itself: a softmax over nothing is no number.
    sees = np.broadcast_to(np.eye(length, dtype=bool), (len(trees), length, length)).copy()
    for row, tree in enumerate(trees):
        count = len(tree.tokens)
        tokens[row, :count], depth[row, :count] = tree.tokens, tree.depth
        parent[row, :count] = tree.parent
        sees[row, :count, :count] = tree.ancestors()
    mask = torch.zeros(len(trees), 1, length, length, dtype=like.dtype, device=like.device)
    mask.masked_fill_(~torch.from_numpy(sees)[:, None].to(like.device), torch.finfo(like.dtype).min)
    inputs = {
        "input_ids": torch.from_numpy(tokens).to(like.device),
        "position_ids": torch.from_numpy(depth).to(like.device),
        "attention_mask": mask,
    }
    return inputs, torch.from_numpy(parent).to(like.device)


@torch.inference_mode()
def mean_log_probs(
    model: CausalLM, groups: Sequence[Sequence[tuple[str, str]]], ends: bool = True
) -> list[list[float]]:
    """Mean log-probability per token of each answer given its text, what a group shares read once.

    Args:
        groups: (text, answer) pairs; equal beginnings of texts within a group are computed once.
        ends: whether the end of the text belongs to an answer.

    Returns:
        A value per pair, by group.
    """
    delimiter = "" if model.tokenizer.chat_template else DELIMITER
    pairs = [pair for group in groups for pair in group]
    encoded = iter(
        model.encode([text for text, _ in pairs], [answer for _, answer in pairs], None, delimiter)
    )
    rows = [[next(encoded) for _ in group] for group in groups]
    kept = slice(None) if ends else slice(-1)
    found = [[0.0] * len(group) for group in groups]
    parts = [
        _Part(i, members, tree)
        for i, group in enumerate(rows)
        for members, tree in _trees(
            [text for text, _ in groups[i]],
            [[*each.prompt.tolist(), *each.answer[kept].tolist()] for each in group],
            _cost(model.module),
        )
    ]

    def score(batch: Sequence[int]) -> None:
        log_probs = tree_log_probs(model.module, [parts[k].tree for k in batch])
        for part, values in zip((parts[k] for k in batch), log_probs, strict=True):
            said = values.double().cpu().numpy()
            for member, path in zip(part.members, part.tree.paths, strict=True):
                answer = path[len(rows[part.group][member].prompt) :]
                found[part.group][member] = float(said[answer].mean())

    sizes = [len(part.tree.tokens) for part in parts]
    left = sorted(range(len(sizes)), key=lambda i: sizes[i])
    at_once = NODES.get(model.device.type, MOST_NODES)
    while left:
        batch = _batch_of(left, sizes, at_once)
        if fits(score, batch):
            left = left[len(batch) :]
        else:
            at_once = sizes[batch[-1]] * halved(len(batch))
    return found


class _Part(NamedTuple):
    """Members of a group that are read as one tree."""

    group: int
    members: Sequence[int]
    tree: PrefixTree


def _trees(
    texts: Sequence[str], ids: Sequence[Sequence[int]], cost: Callable[[int], float]
) -> list[tuple[Sequence[int], PrefixTree]]:
    """A group's members as one tree, or as one for each text, whichever is less work.

    Texts that share little are better apart: every token of a tree is compared with all others.
    """
    if not texts:
        return []
    together: list[tuple[Sequence[int], PrefixTree]] = [(range(len(ids)), prefix_tree(ids))]
    alike: dict[str, list[int]] = {}
    for index, text in enumerate(texts):
        alike.setdefault(text, []).append(index)
    apart = [(some, prefix_tree([ids[k] for k in some])) for some in alike.values()]

    def work(trees: Sequence[tuple[Sequence[int], PrefixTree]]) -> float:
        return sum(cost(len(tree.tokens)) for _, tree in trees)

    return together if work(together) <= work(apart) else [*apart]


def _cost(module: nn.Module) -> Callable[[int], float]:
    """Multiplications of a forward pass by the nodes of its tree: weights, and attention."""
    config = unwrapped(module).config.get_text_config()
    weights = sum(each.numel() for each in module.parameters())
    attention = 2 * config.hidden_size * config.num_hidden_layers
    return lambda nodes: nodes * weights + nodes**2 * attention


def _batch_of(left: Sequence[int], sizes: Sequence[int], most: int) -> list[int]:
    """Return the first trees, the smallest first, that have at most so many nodes together,
    padding included; one at least."""
    count = 1
    while count < len(left) and sizes[left[count]] * (count + 1) <= most:
        count += 1
    return list(left[:count])
