"""What judges that run a model here share: its name in results; answers of a local chat model."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.chat import Answer, Conversation, KeptAnswers
from harness.code_keys import Computation, reached
from harness.computations import of_adapters
from harness.errors import HarnessError
from harness.files import recorded_name
from harness.models import lifetime, loading
from harness.models.batches import USUAL
from harness.models.lengths import positions


def weights_name(model: str, weights: str) -> str:
    """How results name a model by its name and the hash of its weights: folders of one name may
    hold different ones."""
    return f"{recorded_name(model)}@{weights[:8]}"


@contextmanager
def setting_model(judge: str, hint: str = "") -> Iterator[None]:
    """What is wrong with a model is said of the judge's setting `model`."""
    try:
        yield
    except HarnessError as error:
        raise HarnessError(f"judge '{judge}': model: {error}{hint}") from None


class LocalChat:
    """Asks a model of the role causal-lm on this machine, at temperature 0.

    Its answers are kept in `folder`, batch by batch: what is known is not asked again, also after
    a kill. The model is loaded when there is something to ask.
    """

    def __init__(self, model: str, max_tokens: int, folder: Path, batch_size: int = USUAL) -> None:
        self.model = loading.resolve(model)
        self.weights = loading.identity(self.model)
        self._code = reached(Computation((__name__,)) | of_adapters(self.model)).key()
        self.max_tokens = max_tokens
        self.batch_size = batch_size
        self._kept = KeptAnswers(folder)

    def answers(self, conversations: Sequence[Conversation]) -> list[Answer]:
        """The answer to each conversation, in their order; equal ones are asked once.

        A conversation that leaves no room for an answer has none: what a judge reads is not cut.
        """
        keys = [self._key(conversation) for conversation in conversations]
        found = {key: Answer(text) for key, text in self._kept.read().items()}
        missing = {
            key: asked for key, asked in zip(keys, conversations, strict=True) if key not in found
        }
        if missing:
            found |= self._ask(missing)
        return [found[key] for key in keys]

    def _key(self, conversation: Conversation) -> str:
        asked = {
            "weights": self.weights,
            "messages": [dict(message) for message in conversation],
            "max_tokens": self.max_tokens,
            **self._code,
            "device": loading.device_kind(),
        }
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()

    def _loaded(self) -> Any:
        model = loading.load(self.model, "causal-lm")
        model.batch_size = self.batch_size
        return model

    def _ask(self, missing: dict[str, Conversation]) -> dict[str, Answer]:
        model = lifetime.kept(self, self._loaded)
        texts = dict(zip(missing, model.chat_texts(list(missing.values())), strict=True))
        room = positions(model.module) - self.max_tokens
        if room < 1:
            raise HarnessError(
                f"{self.model.name} reads {positions(model.module)} tokens in all, its answer "
                f"included: set max_tokens, which is {self.max_tokens}, lower."
            )
        lengths = _lengths(model.tokenizer, texts)
        found = {
            key: Answer(None, f"the question has {length} tokens, there is room for {room}")
            for key, length in lengths.items()
            if length > room
        }
        # The longest first: a batch that is too large for the memory shows at once.
        order = sorted(texts.keys() - found.keys(), key=lambda key: (-lengths[key], key))
        step = model.batch_size  # which may fall while it answers
        for start in range(0, len(order), step):
            batch = order[start : start + step]
            said = model.generate([texts[key] for key in batch], max_new_tokens=self.max_tokens)
            for key, text in zip(batch, said, strict=True):
                self._kept.keep(key, text)
                found[key] = Answer(text)
        return found


def _lengths(tokenizer: Any, texts: dict[str, str]) -> dict[str, int]:
    # Not verbose: what is too long is a failed judgement, no warning of the tokenizer's.
    rows = tokenizer(list(texts.values()), verbose=False)["input_ids"]
    return {key: len(row) for key, row in zip(texts, rows, strict=True)}
