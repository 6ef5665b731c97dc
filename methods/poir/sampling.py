"""Where rewrites are sampled: by the model in memory, or by a server of it."""

from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import ValidationError

from harness.chat import Chat, ChatConfig
from harness.errors import HarnessError, complaint
from harness.models.causal_lm import CausalLM
from harness.models.rewriting import Rewriting
from methods.poir.config import Collect

Sample = Callable[[Sequence[str], int], list[str]]
"""(prompts, seed) -> `candidates` texts for each prompt, those of a prompt together."""


def sampler(model: CausalLM, rewriting: Rewriting, settings: Collect, folder: Path) -> Sample:
    """The model in memory, or the server that the settings name.

    Args:
        folder: where a server's answers are kept as they come.
    """
    if settings.endpoint:
        return served(model, rewriting, settings, folder)
    return in_memory(model, rewriting, settings)


def in_memory(model: CausalLM, rewriting: Rewriting, settings: Collect) -> Sample:
    """The model rewrites in batches."""
    model.batch_size = settings.batch_size

    def sample(prompts: Sequence[str], seed: int) -> list[str]:
        return model.generate(
            model.prompt_texts(
                [rewriting.filled(prompt) for prompt in prompts], rewriting.max_new_tokens
            ),
            max_new_tokens=rewriting.max_new_tokens,
            temperature=settings.temperature,
            top_p=settings.top_p,
            samples=settings.candidates,
            seed=seed,
        )

    return sample


def served(model: CausalLM, rewriting: Rewriting, settings: Collect, folder: Path) -> Sample:
    """An OpenAI-compatible server of the same model does, such as `vllm serve MODEL`.

    Args:
        model: by whose chat template the server must read messages: a model without one is
            refused.
    """
    if not model.tokenizer.chat_template:
        raise HarnessError(
            "collect.endpoint: a server fills messages into the chat template, and this model's "
            "tokenizer has none: sample in memory, or take a model that was tuned to chat."
        )
    try:
        config = ChatConfig(
            base_url=settings.endpoint,
            model=settings.endpoint_model,
            key_variable=settings.endpoint_key,
            max_tokens=rewriting.max_new_tokens,
            parallel=min(settings.batch_size, 256),
        )
    except ValidationError as error:
        first = error.errors()[0]
        named = {"base_url": "endpoint", "model": "endpoint_model", "key_variable": "endpoint_key"}
        field = named.get(str(first["loc"][0]), str(first["loc"][0]))
        raise HarnessError(f"collect.{field}: {complaint(first)}.") from None
    chat = Chat(config, folder)
    common = {"temperature": settings.temperature, "top_p": settings.top_p}

    def sample(prompts: Sequence[str], seed: int) -> list[str]:
        asked = [rewriting.filled(prompt) for prompt in prompts for _ in range(settings.candidates)]
        conversations = [[{"role": "user", "content": text}] for text in asked]
        # Each sample is a request of its own with its own seed, kept by itself.
        drawn = [{**common, "seed": (seed + i) % 2**31} for i in range(len(asked))]
        answers = chat.answers(conversations, drawn)
        failed = [answer.reason for answer in answers if answer.text is None]
        if failed:
            raise HarnessError(
                f"{settings.endpoint}: {len(failed)} of {len(answers)} samples failed "
                f"({failed[0]}): the same command asks for these again."
            )
        return [answer.text or "" for answer in answers]

    return sample
