"""The `llm` judge: a language model, at an OpenAI-compatible endpoint or on this machine."""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from pydantic import Field, field_validator

from harness.chat import Chat, ChatConfig, plain_address
from harness.judges import Case, Identity, Judge, Verdict
from harness.models.batches import USUAL
from harness.schema import Strict, digest
from tasks.preference.judges.local import LocalChat, setting_model, weights_name
from tasks.preference.judges.prompts import NAMES, Prompt, open_prompt


class LlmConfig(ChatConfig):
    """The model, where it is, and what it is asked."""

    base_url: str = ""
    """Address of an endpoint up to and without `/chat/completions`; empty: the model is asked on
    this machine."""
    model: str = Field(min_length=1)
    """The model's name at the endpoint; without one an embedded name, a folder or a hub name."""
    batch_size: int = Field(USUAL, ge=1)
    """Conversations of one forward pass of a model on this machine; halved where memory does not
    suffice."""
    prompt: str = ""
    """`mt-bench-pair`, `mt-bench-single`, or a file with a prompt of AlpacaEval's format; empty:
    MT-bench's for as many answers as are shown."""

    @field_validator("base_url")
    @classmethod
    def _plain_address(cls, url: str) -> str:
        return plain_address(url) if url else url


class Llm(Judge):
    """A language model, at an OpenAI-compatible endpoint or here; its verdict is read by rule."""

    Config = LlmConfig

    def __init__(self, name: str, config: Strict, folder: Path) -> None:
        super().__init__(name, config, folder)
        assert isinstance(config, LlmConfig)
        self._max_tokens = config.max_tokens
        self._prompts = [
            open_prompt(prompt) for prompt in ([config.prompt] if config.prompt else NAMES)
        ]
        self._chat: Chat | LocalChat
        if config.base_url:
            self._model = config.model
            self._chat = Chat(config, folder)
            return
        with setting_model(name, " A model at an endpoint takes base_url."):
            self._chat = LocalChat(config.model, config.max_tokens, folder, config.batch_size)
        self._model = weights_name(config.model, self._chat.weights)

    def identity(self) -> Identity:
        """The address is no part of it: the same model may be served from anywhere. A local model
        is its name and weights."""
        prompt = digest([*(prompt.hash() for prompt in self._prompts), self._max_tokens])
        return Identity(self.name, self._model, prompt)

    def judge(self, cases: Sequence[Case]) -> list[Verdict]:
        prompts = [self._prompt(case) for case in cases]
        asked = [prompt.messages(case) for prompt, case in zip(prompts, cases, strict=True)]
        with setting_model(self.name) if isinstance(self._chat, LocalChat) else nullcontext():
            answers = self._chat.answers(asked)
        return [
            Verdict(None, answer.reason)
            if answer.text is None
            else prompt.read(answer.text, _shown(case))
            for prompt, case, answer in zip(prompts, cases, answers, strict=True)
        ]

    def _prompt(self, case: Case) -> Prompt:
        """The prompt for as many answers; where there is none, the one that says so."""
        fitting = (prompt for prompt in self._prompts if prompt.answers == len(case.answers))
        return next(fitting, self._prompts[0])


def _shown(case: Case) -> list[str]:
    return [*case.turns, *(text for answer in case.answers for text in answer), *case.references]
