"""Who answers prompts: a model in memory, another one, or an endpoint."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import ValidationError

from harness.chat import Chat, ChatConfig
from harness.errors import HarnessError
from harness.models import loading
from harness.models.causal_lm import CausalLM
from tasks.preference.options import AnswerOptions

Respond = Callable[[Sequence[str]], list[str]]
"""Prompts -> an answer to each, in their order."""


def responder(
    options: AnswerOptions, model: CausalLM, template: str, generation: Mapping[str, Any]
) -> Respond:
    """Who answers: the card's endpoint or responder, else the model that training began with.

    Args:
        template: a card's text around a prompt, with `{prompt}`.
        generation: arguments of `CausalLM.generate`.
    """
    if options.endpoint:
        return _served(options, model, template, generation)
    if options.responder:
        answering = another(loading.resolve(options.responder))
    elif model.base is None or model.base == model.folder:
        answering = model
    else:
        answering = another(model.base)
    return by_model(answering, template, generation)


def by_model(model: CausalLM, template: str, generation: Mapping[str, Any]) -> Respond:
    """A model in memory, asked in its own chat format where it has one."""

    def respond(prompts: Sequence[str]) -> list[str]:
        texts = model.prompt_texts([template.replace("{prompt}", prompt) for prompt in prompts])
        return model.generate(texts, **generation)

    return respond


@lru_cache(maxsize=1)
def another(folder: Path) -> CausalLM:
    """A model beside the one that is scored; the last one stays in memory."""
    model: CausalLM = loading.load(folder, "causal-lm")
    return model


def _served(
    options: AnswerOptions, model: CausalLM, template: str, generation: Mapping[str, Any]
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
        raise HarnessError(f"option 'endpoint': {first['loc'][0]}: {first['msg']}.") from None

    def respond(prompts: Sequence[str]) -> list[str]:
        filled = [template.replace("{prompt}", prompt) for prompt in prompts]
        # The run keeps the answers of a chunk itself, when it has them all.
        with TemporaryDirectory() as folder:
            answers = Chat(config, Path(folder)).answers(
                [[{"role": "user", "content": text}] for text in filled]
            )
        texts = [answer.text for answer in answers if answer.text is not None]
        if len(texts) < len(prompts):
            reason = next(answer.reason for answer in answers if answer.text is None)
            raise HarnessError(
                f"{options.endpoint}: {len(prompts) - len(texts)} of {len(prompts)} prompts were "
                f"not answered ({reason}): the same command asks again."
            )
        return texts

    return respond
