"""Who answers: a model in memory, another one, or an endpoint."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import ValidationError

from harness.chat import Chat, ChatConfig
from harness.errors import HarnessError, complaint
from harness.models import lifetime, loading
from harness.models.generation_settings import NEW_TOKENS
from harness.models.rewriting import Rewriting, read_rewriting, rewritten
from harness.schema import digest
from tasks.preference.options import AnswerOptions

if TYPE_CHECKING:
    from harness.models.causal_lm import CausalLM

Dialogue = Sequence[str]
"""What a user said and what was answered, by turns; the user's text stands first and last."""
Respond = Callable[[Sequence[Dialogue]], list[str]]
"""Dialogues -> the next answer in each, in their order."""


class Answering(NamedTuple):
    """How a scored checkpoint takes part.

    rewriting: what it makes of prompts, where it rewrites them.
    own: who answers for it: itself, but for one that rewrites and for an untrained model.
    responder: who answers for the other side.
    """

    rewriting: Rewriting | None
    own: Respond
    responder: Respond

    def prompts(self, model: "CausalLM", prompts: Sequence[str], ids: Sequence[str]) -> list[str]:
        """What is answered in place of the prompts of some items."""
        if self.rewriting is None:
            return list(prompts)
        return rewritten(model, self.rewriting, prompts, int(digest(list(ids)), 16) >> 1)


def answering(
    options: AnswerOptions, model: "CausalLM", template: str, generation: Mapping[str, Any]
) -> Answering:
    """Who answers what; `rewriting` among the generation settings stands over the checkpoint's."""
    settings = {key: value for key, value in generation.items() if key != "rewriting"}
    given = generation.get("rewriting")
    rewriting = Rewriting.model_validate(given) if given else _of_checkpoint(model)
    other = responder(options, model, template, settings)
    if rewriting is None and model.folder != model.base:
        return Answering(None, by_model(model, template, settings), other)
    return Answering(rewriting, other, other)


def _of_checkpoint(model: "CausalLM") -> Rewriting | None:
    return read_rewriting(model.folder) if model.folder else None


def responders(options: AnswerOptions) -> list[str]:
    """Return the names of the models that answer here beside the scored one and its base."""
    return [options.responder] if options.responder and not options.endpoint else []


def responder(
    options: AnswerOptions, model: "CausalLM", template: str, generation: Mapping[str, Any]
) -> Respond:
    """Who answers: the card's endpoint or responder, else the model that training began with.

    Args:
        template: a card's text around what the user says, with `{prompt}`.
        generation: arguments of `CausalLM.generate`.
    """
    if options.endpoint:
        return _served(options, model, template, generation)
    if options.responder:
        answering = another(loading.resolve(options.responder), model.batch_size)
    elif model.base is None or model.base == model.folder:
        answering = model
    else:
        answering = another(model.base, model.batch_size)
    return by_model(answering, template, generation)


def by_model(model: "CausalLM", template: str, generation: Mapping[str, Any]) -> Respond:
    """A model in memory, asked in its own chat format; one without a format can answer one turn."""

    new = generation.get("max_new_tokens", NEW_TOKENS)

    def respond(dialogues: Sequence[Dialogue]) -> list[str]:
        if all(len(dialogue) == 1 for dialogue in dialogues):
            texts = model.prompt_texts([_filled(template, text) for (text,) in dialogues], new)
        else:
            texts = model.chat_texts([_messages(each, template) for each in dialogues], new)
        return model.generate(texts, **generation)

    return respond


def another(folder: Path, batch_size: int) -> "CausalLM":
    """Return a model beside the one that is scored, in memory until another one is scored."""

    def load() -> "CausalLM":
        model: CausalLM = loading.load(folder, "causal-lm")
        model.batch_size = batch_size
        return model

    found: CausalLM = lifetime.kept(("responder", folder), load)
    return found


def check_key(options: AnswerOptions) -> None:
    """Raise `HarnessError` where there is no key: before what was given is written anywhere, since
    it may be the key itself in the place of its variable's name."""
    if options.endpoint_key and not os.environ.get(options.endpoint_key, "").strip():
        raise HarnessError(
            "option 'endpoint_key' names an environment variable that is not set: export it."
        )


def _served(
    options: AnswerOptions, model: "CausalLM", template: str, generation: Mapping[str, Any]
) -> Respond:
    name = options.responder or (model.base.name if model.base else "")
    try:
        config = ChatConfig(
            base_url=options.endpoint,
            model=name,
            key_variable=options.endpoint_key,
            max_tokens=generation.get("max_new_tokens", 512),
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise HarnessError(f"option 'endpoint': {first['loc'][0]}: {complaint(first)}.") from None

    def respond(dialogues: Sequence[Dialogue]) -> list[str]:
        # The run keeps the answers of a chunk itself, when it has them all.
        with TemporaryDirectory() as folder:
            answers = Chat(config, Path(folder)).answers(
                [_messages(dialogue, template) for dialogue in dialogues]
            )
        texts = [answer.text for answer in answers if answer.text is not None]
        if len(texts) < len(dialogues):
            reason = next(answer.reason for answer in answers if answer.text is None)
            raise HarnessError(
                f"{options.endpoint}: {len(dialogues) - len(texts)} of {len(dialogues)} prompts "
                f"were not answered ({reason}): the same command asks again."
            )
        return texts

    return respond


def _messages(dialogue: Dialogue, template: str) -> list[dict[str, str]]:
    return [
        {"role": "assistant", "content": text}
        if place % 2
        else {"role": "user", "content": _filled(template, text)}
        for place, text in enumerate(dialogue)
    ]


def _filled(template: str, prompt: str) -> str:
    return template.replace("{prompt}", prompt)
