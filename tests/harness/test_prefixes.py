"""Texts that begin alike, read at once: the numbers of one plain forward pass per text."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_translators import tiny_llama
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    FalconConfig,
    GPT2Config,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
    MptConfig,
    Qwen2Config,
)

from harness.errors import DataError, HarnessError
from harness.models import prefixes
from harness.models.causal_lm import CausalLM
from harness.models.prefixes import mean_log_probs, prefix_tree, tree_log_probs

VOCABULARY = 61
ROTARY = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
CONFIGS = {
    "llama": LlamaConfig(**ROTARY),
    "qwen2": Qwen2Config(**ROTARY, num_key_value_heads=2),
    "gpt2": GPT2Config(
        vocab_size=VOCABULARY,
        n_embd=32,
        n_layer=2,
        n_head=4,
        n_positions=64,
        bos_token_id=1,
        eos_token_id=2,
    ),
}


def decoder(config, attention="sdpa", dtype=torch.float32):
    """Weights far from zero, so that every token seen or numbered wrongly shows."""
    torch.manual_seed(0)
    module = AutoModelForCausalLM.from_config(config, attn_implementation=attention)
    for parameter in module.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    return module.to(dtype).eval()


@pytest.fixture(scope="module")
def decoders():
    return {name: decoder(config) for name, config in CONFIGS.items()}


@torch.no_grad()
def one_by_one(module, text):
    """log p of every token but the first, by a plain pass over the text alone, [length - 1]."""
    ids = torch.tensor([text])
    logits = module(input_ids=ids).logits[0, :-1].float()
    return logits.log_softmax(-1).gather(1, ids[0, 1:, None]).squeeze(1)


def at_once(module, groups):
    """The same of each text of each group, from trees in one batch."""
    trees = [prefix_tree(group) for group in groups]
    with torch.no_grad():
        found = tree_log_probs(module, trees)
    return [
        [values[torch.from_numpy(path[1:])] for path in tree.paths]
        for values, tree in zip(found, trees, strict=True)
    ]


token = st.integers(0, VOCABULARY - 1)
few = st.integers(0, 2)  # so that texts begin alike, are equal, or begin another
text = st.lists(few, min_size=1, max_size=9) | st.lists(token, min_size=1, max_size=12)
groups = st.lists(st.lists(text, min_size=1, max_size=6), min_size=1, max_size=3)


@given(st.lists(text, min_size=1, max_size=8))
def test_a_tree_has_a_node_for_each_distinct_beginning(texts):
    tree = prefix_tree(texts)
    beginnings = {tuple(text[: i + 1]) for text in texts for i in range(len(text))}
    assert len(tree.tokens) == len(beginnings)
    told = {}
    for text, path in zip(texts, tree.paths, strict=True):
        assert tree.tokens[path].tolist() == text
        assert tree.depth[path].tolist() == list(range(len(text)))
        assert tree.parent[path].tolist() == [-1, *path[:-1].tolist()]
        for i, node in enumerate(path.tolist()):
            assert told.setdefault(node, tuple(text[: i + 1])) == tuple(text[: i + 1])
    assert all(parent < node for node, parent in enumerate(tree.parent.tolist()))
    sees = tree.ancestors()
    for node, beginning in told.items():
        seen = {told[other] for other in np.flatnonzero(sees[node]).tolist()}
        assert seen == {beginning[: i + 1] for i in range(len(beginning))}


@settings(deadline=None, max_examples=25)
@given(st.sampled_from(sorted(CONFIGS)), groups)
def test_log_probs_are_those_of_one_pass_per_text(decoders, name, texts):
    module = decoders[name]
    for found, group in zip(at_once(module, texts), texts, strict=True):
        for values, text in zip(found, group, strict=True):
            torch.testing.assert_close(values, one_by_one(module, text), rtol=0, atol=2e-5)


STEM = [5, 9, 11, 3, 40, 8, 2, 33]
FIXED = [
    [[*STEM, 7, 7, 60], [*STEM, 7, 7], [*STEM, 8], [*STEM[:3], *STEM], [9], [9]],
    [[1, 2]],
    [[4]],
]


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize(
    ("attention", "dtype", "tolerance"),
    [
        ("eager", torch.float32, 2e-5),
        ("sdpa", torch.float32, 2e-5),
        ("eager", torch.bfloat16, 0.06),
        ("sdpa", torch.bfloat16, 0.06),
    ],
)
def test_every_attention_and_precision_gives_them(name, attention, dtype, tolerance):
    module = decoder(CONFIGS[name], attention, dtype)
    for found, group in zip(at_once(module, FIXED), FIXED, strict=True):
        for values, text in zip(found, group, strict=True):
            torch.testing.assert_close(values, one_by_one(module, text), rtol=0, atol=tolerance)


def test_first_tokens_are_zero_and_padding_is_cut_off(decoders):
    trees = [prefix_tree(group) for group in FIXED]
    with torch.no_grad():
        found = tree_log_probs(decoders["llama"], trees)
    assert [len(values) for values in found] == [len(tree.tokens) for tree in trees]
    for values, tree in zip(found, trees, strict=True):
        assert (values[torch.from_numpy(tree.parent < 0)] == 0).all()
        assert (values[torch.from_numpy(tree.parent >= 0)] < 0).all()


class Largest(TorchDispatchMode):
    """Notes the most numbers that an operation gave."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else [out]:
            if isinstance(tensor, torch.Tensor):
                self.count = max(self.count, tensor.numel())
        return out


def test_no_tensor_of_every_node_and_the_whole_vocabulary_is_made():
    vocabulary = 20_000
    module = decoder(LlamaConfig(**{**ROTARY, "vocab_size": vocabulary}))
    rng = np.random.default_rng(0)
    stem = rng.integers(0, vocabulary, 40).tolist()
    trees = [prefix_tree([stem + rng.integers(0, vocabulary, 20).tolist() for _ in range(40)])]
    nodes = len(trees[0].tokens)
    assert nodes == 840
    with torch.no_grad(), Largest() as largest:
        tree_log_probs(module, trees)
    assert 0 < largest.count <= 256 * vocabulary < nodes * vocabulary


NOT_TREES = {
    "bloom": (BloomConfig(vocab_size=61, hidden_size=32, n_layer=2, n_head=4), "a mask"),
    "falcon": (
        FalconConfig(
            vocab_size=61,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            alibi=True,
            bos_token_id=1,
            eos_token_id=2,
        ),
        "a mask",
    ),
    "mamba": (
        MambaConfig(vocab_size=61, hidden_size=32, num_hidden_layers=2, state_size=4),
        "a mask",
    ),
    "mpt": (
        MptConfig(vocab_size=61, d_model=32, n_layers=2, n_heads=4, expansion_ratio=2),
        "one by one",
    ),
}


@pytest.mark.parametrize("name", NOT_TREES)
def test_a_model_that_takes_no_mask_or_positions_of_its_own_is_refused(name):
    config, said = NOT_TREES[name]
    module = decoder(config, "eager")
    with pytest.raises(HarnessError, match=rf"^{name}: .*{said}") as error, torch.no_grad():
        tree_log_probs(module, [prefix_tree([[1, 2], [1, 3]])])
    assert "take another architecture" in str(error.value) and "\n" not in str(error.value)


def test_a_limited_view_back_is_no_hindrance_up_to_its_length():
    module = decoder(MistralConfig(**ROTARY, num_key_value_heads=2, sliding_window=16))
    fits, longer = [[*STEM, *STEM], [*STEM, 1]], [[*STEM, *STEM, 1], [1]]
    for values, text in zip(*at_once(module, [fits]), fits, strict=True):
        torch.testing.assert_close(values, one_by_one(module, text), rtol=0, atol=2e-5)
    with pytest.raises(HarnessError, match=r"mistral: a text of 17 tokens .*sliding_window 16"):
        at_once(module, [longer])


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "chat"])
def model(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("llama")
    return CausalLM.load(tiny_llama(folder, chat=request.param))


PAIRS = [
    [("red dress", "blue"), ("red dress", "a long blue shirt"), ("red shoes", "blue")],
    [],
    [("white skirt for women", "cotton"), ("white skirt for women", "cotton"), ("", "linen")],
    [("\U0001f600 {prompt}\x00", "silk")],
]


def by_hand(model, text, answer, ends):
    """Mean log p of an answer's tokens by a plain pass; the tokens joined here."""
    chat = model.tokenizer.chat_template is not None
    tokens = model.tokenizer(text, add_special_tokens=False)["input_ids"]
    start = [] if chat and text else [1]
    said = model.tokenizer(text + ("" if chat else " ") + answer, add_special_tokens=False)
    whole = [*start, *said["input_ids"], *([2] if ends else [])]
    return float(one_by_one(model.module, whole)[len(start) + len(tokens) - 1 :].mean())


@pytest.mark.parametrize("ends", [True, False])
def test_means_over_answers_are_those_of_one_pass_per_pair(model, ends):
    asked = [[(model.prompt_texts([t])[0], answer) for t, answer in group] for group in PAIRS]
    found = mean_log_probs(model, asked, ends)
    assert [len(of) for of in found] == [3, 0, 3, 1]
    for values, group in zip(found, asked, strict=True):
        for value, (text, answer) in zip(values, group, strict=True):
            assert value == pytest.approx(by_hand(model, text, answer, ends), abs=1e-4)


def test_nothing_is_the_mean_of_nothing(model):
    assert mean_log_probs(model, []) == []
    assert mean_log_probs(model, [[], []]) == [[], []]


def test_how_groups_are_batched_changes_nothing(model, monkeypatch):
    whole = mean_log_probs(model, PAIRS)
    monkeypatch.setattr(prefixes, "NODES", {"cpu": 1})
    for found, expected in zip(mean_log_probs(model, PAIRS), whole, strict=True):
        assert found == pytest.approx(expected, abs=1e-5)


def test_a_text_that_leaves_no_room_is_cut_at_its_beginning_and_a_long_answer_refused(model):
    long = "red " * 600
    ((value,),) = mean_log_probs(model, [[(long, "blue")]])
    (row,) = model.encode([long], ["blue"], None, "" if model.tokenizer.chat_template else " ")
    kept = [*row.prompt.tolist(), *row.answer.tolist()]
    assert len(kept) == 512
    expected = one_by_one(model.module, kept)[-len(row.answer) :].mean()
    assert value == pytest.approx(float(expected), abs=1e-4)
    assert math.isfinite(value)
    with pytest.raises(DataError, match=r"the answer has .* tokens, but a text may have 512"):
        mean_log_probs(model, [[("red", long)]])
