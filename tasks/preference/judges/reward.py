"""The `reward` judge: of two answers, the one that a reward model scores higher is better."""

from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field

from harness.errors import HarnessError
from harness.judges import Case, Decision, Identity, Judge, Verdict
from harness.models import loading, memory
from harness.models.batches import in_batches
from harness.models.lengths import positions
from harness.schema import Strict, digest
from tasks.preference.judges.local import setting_model, weights_name

PLAIN = ("\n\nHuman: ", "\n\nAssistant: ")
"""What stands before a turn and before its answer where a tokenizer has no chat template: the
dialogues of HH-RLHF (arXiv 2204.05862)."""

RULES = "1"
"""Version of how a conversation becomes tokens, below: a part of the prompt's hash."""

Conversation = tuple[tuple[str, str], ...]
"""Turns, each what the user said and its answer."""


class RewardConfig(Strict):
    """The reward model, and how its scores are compared."""

    model: str = Field(min_length=1)
    """A sequence classifier of transformers with one label: embedded name, folder or hub name."""
    batch_size: int = Field(16, ge=1)
    """Conversations of one forward pass; one alone where the model's config has no padding token,
    since it then reads its reward at the end of a row, whatever stands there."""
    margin: float = Field(0.0, ge=0, allow_inf_nan=False)
    """Rewards that differ by at most this are a tie."""


class Reward(Judge):
    """A reward model: any sequence classifier of transformers with one label.

    A conversation becomes text by the tokenizer's chat template, without one as in HH-RLHF ("Human:
    ... Assistant: ..."). Where it is longer than the model reads, its beginning is cut off: a
    reward is of the last answer, which must fit as a whole, or the judgement is a failed one.
    """

    Config = RewardConfig

    def __init__(self, name: str, config: Strict, folder: Path) -> None:
        super().__init__(name, config, folder)
        assert isinstance(config, RewardConfig)
        self._settings = config
        self.batch_size = config.batch_size
        with setting_model(name):
            self._folder = loading.resolve(config.model)
            self._tokenizer = _tokenizer(self._folder)

    def identity(self) -> Identity:
        """The model by its name and weights; the prompt is how conversations become text."""
        weights = loading.identity(self._folder)
        prompt = digest([self._tokenizer.chat_template, PLAIN, RULES, self._settings.margin])
        return Identity(self.name, weights_name(self._settings.model, weights), prompt)

    def judge(self, cases: Sequence[Case]) -> list[Verdict]:
        if any(len(case.answers) == 1 for case in cases):
            raise HarnessError(
                f"judge '{self.name}': compares two answers: a reward is no score from 1 to 10. "
                "Choose another with --judge."
            )
        pairs = [[_conversation(case, answer) for answer in case.answers] for case in cases]
        rewards = self._rewards([conversation for pair in pairs for conversation in pair])
        return [self._verdict(rewards[first], rewards[second]) for first, second in pairs]

    def _verdict(self, first: "_Scored", second: "_Scored") -> Verdict:
        for place, scored in (("first", first), ("second", second)):
            if scored.reward is None:
                return Verdict(None, f"the {place} answer {scored.reason}")
        assert first.reward is not None and second.reward is not None
        difference = first.reward - second.reward
        decision: Decision = "first" if difference > 0 else "second"
        if abs(difference) <= self._settings.margin:
            decision = "tie"
        return Verdict(decision, text=f"{first.reward:g} {second.reward:g}")

    def _rewards(self, conversations: Sequence[Conversation]) -> dict[Conversation, "_Scored"]:
        """Each conversation's reward, equal ones scored once, those of like length together."""
        alone = list(dict.fromkeys(conversations))
        if not alone:
            return {}
        with setting_model(self.name):
            model = memory.kept(self, lambda: _load(self._folder))
        longest = min(positions(model), self._tokenizer.model_max_length)
        found = {
            each: _Scored(None, f"has {length} tokens or more, the model reads {longest}")
            for each, length in zip(alone, self._lengths([c[-1][1] for c in alone]), strict=True)
            if length >= longest
        }
        left = [each for each in alone if each not in found]
        rows = dict(zip(left, self._rows(left, longest), strict=True))
        order = sorted(left, key=lambda each: -len(rows[each]))
        if _padding(model) is None:
            self.batch_size = 1

        def score(batch: Sequence[Conversation]) -> None:
            rewards = _forward(model, [rows[each] for each in batch])
            for each, reward in zip(batch, rewards, strict=True):
                found[each] = (
                    _Scored(reward) if isfinite(reward) else _Scored(None, f"has reward {reward}")
                )

        in_batches(self, order, score)
        return found

    def _lengths(self, texts: Sequence[str]) -> list[int]:
        # Not verbose: what is too long is a failed judgement, no warning of the tokenizer's.
        rows = self._tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
        return [len(row) for row in rows]

    def _rows(self, conversations: Sequence[Conversation], longest: int) -> list[list[int]]:
        """Token ids; what is longer loses its beginning, but for marks the tokenizer sets there."""
        if not conversations:
            return []
        by_template = bool(self._tokenizer.chat_template)
        texts = [self._templated(c) if by_template else _plain(c) for c in conversations]
        rows: list[list[int]] = self._tokenizer(
            texts,
            add_special_tokens=not by_template,  # a template writes its own
            truncation=True,
            max_length=longest,
        )["input_ids"]
        return rows

    def _templated(self, conversation: Conversation) -> str:
        messages = []
        for asked, answer in conversation:
            messages.append({"role": "user", "content": asked})
            messages.append({"role": "assistant", "content": answer})
        try:
            text: str = self._tokenizer.apply_chat_template(messages, tokenize=False)
        except Exception as error:  # templates are programs: they refuse in many ways
            reason = " ".join(str(error).split())[:200]
            raise HarnessError(
                f"judge '{self.name}': the model's chat template refuses a conversation ({reason})."
            ) from None
        return text


class _Scored(NamedTuple):
    """A reward; None where there is none, and why."""

    reward: float | None
    reason: str = ""


def _conversation(case: Case, answer: tuple[str, ...]) -> Conversation:
    return tuple(zip(case.turns, answer, strict=True))


def _plain(conversation: Conversation) -> str:
    user, assistant = PLAIN
    return "".join(f"{user}{asked}{assistant}{answer}" for asked, answer in conversation)


def _tokenizer(folder: Path) -> Any:
    """The tokenizer of a reward model; `HarnessError` where the folder holds something else."""
    from transformers import AutoConfig, AutoTokenizer

    if loading.is_adapter(folder):
        raise HarnessError(f"{folder}: is an adapter: merge it into its base model first.")
    try:
        labels = AutoConfig.from_pretrained(folder).num_labels
        if labels == 1:
            return AutoTokenizer.from_pretrained(folder, truncation_side="left")
    except Exception as error:  # a broken folder shows in many ways
        reason = " ".join(str(error).split())[:200]
        raise HarnessError(f"{folder}: cannot be read as a reward model: {reason}") from None
    raise HarnessError(
        f"{folder}: has {labels} labels, a reward model has one: give a sequence classifier whose "
        "config says num_labels 1."
    )


def _load(folder: Path) -> Any:
    """A reward model on the device of this process, in bf16 where the device has it."""
    from transformers import AutoModelForSequenceClassification
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    device, dtype = loading.placement()
    try:
        model, info = AutoModelForSequenceClassification.from_pretrained(
            folder, dtype=dtype, output_loading_info=True
        )
    except Exception as error:  # a damaged file shows in many ways
        reason = " ".join(str(error).partition("Model type should be")[0].split())[:300]
        raise HarnessError(f"{folder}: cannot be loaded as a reward model: {reason}") from None
    if info["missing_keys"]:
        raise HarnessError(
            f"{folder}: is no reward model: its weights lack {min(info['missing_keys'])}, which "
            "would be random."
        )
    return model.to(device).eval()


def _forward(model: Any, rows: Sequence[Sequence[int]]) -> list[float]:
    """Rewards of one batch, padded on the right: a decoder's is read at the last other token."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    ids = [torch.tensor(row) for row in rows]
    padded = pad_sequence(ids, True, _padding(model) or 0)
    mask = pad_sequence([torch.ones_like(row) for row in ids], True, 0)
    with torch.inference_mode():
        out = model(input_ids=padded.to(model.device), attention_mask=mask.to(model.device))
    return [float(reward) for reward in out.logits.float()[:, 0]]


def _padding(model: Any) -> int | None:
    found: int | None = model.config.get_text_config().pad_token_id
    return found
