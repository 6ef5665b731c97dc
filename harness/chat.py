"""A client of OpenAI-compatible endpoints: many conversations at once, each answer kept on disk."""

import hashlib
import json
import os
import re
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from harness.errors import HarnessError
from harness.files import lock
from harness.posting import post
from harness.schema import Strict
from harness.seals import append_row, appended_rows

KEPT = "answers.jsonl"
HOPELESS = {401, 402, 403, 404, 405}
"""Statuses that say something of the key, the account or the address, not of one conversation."""

Conversation = Sequence[Mapping[str, str]]
"""Messages with `role` and `content`, as the endpoint takes them."""
Sampling = Mapping[str, float]


class ChatConfig(Strict):
    """Where an endpoint is, and how patient we are with it."""

    base_url: str
    """Address up to and without `/chat/completions`: https://api.openai.com/v1."""
    model: str = Field(min_length=1)
    """The model's name at the endpoint."""
    key_variable: str = ""
    """Name of the environment variable that holds the key; empty: no key is sent."""
    max_tokens: int = Field(2048, gt=0)
    """Longest answer."""
    parallel: int = Field(8, ge=1, le=256)
    """Requests under way at once."""
    timeout: float = Field(120, gt=0, allow_inf_nan=False)
    """Seconds for a request; then it counts as failed and is sent again."""
    retries: int = Field(5, ge=0, le=20)
    """How often a request is sent again after status 429, 5xx, a cut connection or a timeout."""
    first_wait: float = Field(1, ge=0, allow_inf_nan=False)
    """Seconds before the first retry; they double with each further one."""
    longest_wait: float = Field(60, ge=0, allow_inf_nan=False)
    """The most seconds between two tries, also where the endpoint asks for more."""

    @field_validator("base_url")
    @classmethod
    def _plain_address(cls, url: str) -> str:
        return plain_address(url)

    @field_validator("key_variable")
    @classmethod
    def _variable(cls, name: str) -> str:
        return plain_variable(name)


def exported_variable(name: str) -> str:
    """A variable that holds a key, or nothing; raises `ValueError` where it is not set: what was
    given may be the key itself, and a name's place is written down."""
    if plain_variable(name) and not os.environ.get(name, "").strip():
        raise ValueError("names an environment variable that is not set: export it")
    return name


def plain_variable(name: str) -> str:
    """The name of a variable that holds a key, or nothing; raises `ValueError` for all else."""
    if name and not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError("the name of an environment variable, not the key itself")
    return name


def plain_address(url: str) -> str:
    """An endpoint's address, checked; raises `ValueError` where it is none or holds a secret."""
    # What was given is not repeated: an address may hold a password.
    try:
        parts = urlsplit(url)
        host, _ = (parts.hostname or "").encode("idna"), parts.port
    except ValueError:
        raise ValueError("not an address") from None
    if parts.scheme not in ("http", "https") or not host or not re.fullmatch("[!-~]+", url):
        raise ValueError("an address begins with http:// or https:// and a host")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError(
            "an address without user, password and '?': a key comes from the environment variable "
            "that another setting names"
        )
    return url.rstrip("/")


@dataclass(frozen=True)
class Answer:
    """What came of one conversation.

    text: None where there is none.
    reason: why, on one line.
    """

    text: str | None
    reason: str = ""


class KeptAnswers:
    """Answers in a folder, each a line of JSON, by the hash of what was asked.

    Two processes may share a folder; they may ask the same thing twice where they do at the same
    time.
    """

    def __init__(self, folder: Path) -> None:
        self.file = folder / KEPT

    def read(self) -> dict[str, str]:
        """Text by key; what a killed writer left of a last line is not there."""
        return {row["key"]: row["text"] for row in appended_rows(self.file)}

    def keep(self, key: str, text: str) -> None:
        """Add an answer, on disk before this returns."""
        with lock(self.file.with_name(f".{KEPT}.lock")):
            append_row(self.file, {"key": key, "text": text})


class Chat:
    """Asks one model at one endpoint, at temperature 0 unless told otherwise.

    Answers are kept in `folder`, each as it comes: what is known is not asked again, also after a
    kill. Failures are not kept.

    The key is read from the environment here and leaves only in the header of a request; where
    the endpoint sends it back, asterisks stand in its place. Redirects, which would carry it to
    another address, are not followed.
    """

    def __init__(self, config: ChatConfig, folder: Path) -> None:
        self.config = config
        self.url = f"{config.base_url}/chat/completions"
        self._key = _key(config.key_variable)
        self._kept = KeptAnswers(folder)

    def answers(
        self, conversations: Sequence[Conversation], sampling: Sequence[Sampling] | None = None
    ) -> list[Answer]:
        """The answer to each conversation, in their order; equal ones are asked once.

        Args:
            sampling: for each conversation `temperature`, `top_p`, `seed` and the like, as the
                endpoint takes them; without it the temperature is 0.

        Raises `HarnessError` where the endpoint refuses the key, the model or the address.
        """
        settings = sampling or [{"temperature": 0}] * len(conversations)
        bodies = [self._body(*each) for each in zip(conversations, settings, strict=True)]
        keys = [hashlib.sha256(self.url.encode() + b"\n" + body).hexdigest() for body in bodies]
        found = {key: Answer(text) for key, text in self._kept.read().items()}
        missing = {key: body for key, body in zip(keys, bodies, strict=True) if key not in found}
        for key, answer in _in_parallel(self._ask, missing, self.config.parallel):
            if answer.text is not None:
                self._kept.keep(key, answer.text)
            found[key] = answer
        return [found[key] for key in keys]

    def _body(self, conversation: Conversation, sampling: Sampling) -> bytes:
        settings = {**sampling, "max_tokens": self.config.max_tokens}
        messages = [dict(message) for message in conversation]
        body = {"model": self.config.model, "messages": messages, **settings}
        return json.dumps(body, sort_keys=True).encode()

    def _ask(self, body: bytes, stop: Event) -> Answer:
        """One conversation's answer, asked again while that may help."""
        reason = ""
        for attempt in range(self.config.retries + 1):
            asked_to_wait = None
            try:
                response = post(self.url, body, self._key, self.config.timeout)
            except (OSError, HTTPException) as error:
                reason = self._problem(error)
            else:
                status = response.status
                if 200 <= status < 300:
                    return self._parsed(response.content)
                reason = f"HTTP {status}: {self._excerpt(response.content)}"
                if status in HOPELESS or status < 400:
                    raise HarnessError(
                        f"{self.url} answers {reason}. Check base_url, model and key_variable."
                    )
                if status != 429 and status < 500:
                    return Answer(None, reason)
                asked_to_wait = response.retry_after
            wait = self.config.first_wait * 2**attempt if asked_to_wait is None else asked_to_wait
            if attempt < self.config.retries and stop.wait(min(wait, self.config.longest_wait)):
                return Answer(None, "stopped")
        return Answer(None, f"{reason} (tries: {self.config.retries + 1})")

    def _problem(self, error: Exception) -> str:
        """Why there was no response; what no retry mends is an error of the user."""
        cause = error.reason if isinstance(error, URLError) else error
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise HarnessError(f"{self.url}: its certificate is not trusted ({cause}).") from None
        if isinstance(cause, TimeoutError):
            return f"no answer in {self.config.timeout:g} s"
        return self._line(f"no answer: {type(cause).__name__}: {cause}")

    def _parsed(self, content: bytes) -> Answer:
        try:
            text = json.loads(content)["choices"][0]["message"]["content"]
        except (KeyError, IndexError, TypeError):
            return Answer(None, f"no choices[0].message.content in {self._excerpt(content)}")
        except (ValueError, RecursionError):
            return Answer(None, f"the response is not JSON: {self._excerpt(content)}")
        if not isinstance(text, str):
            return Answer(None, f"the content is no text in {self._excerpt(content)}")
        return Answer(self._without_key(text))

    def _excerpt(self, content: bytes) -> str:
        """The error's own words where it has some, else the beginning of what was sent."""
        said: Any = content.decode(errors="replace")
        try:
            values = json.loads(content)
            said = json.dumps(values, ensure_ascii=False)
            said = values["error"]["message"]
        except (ValueError, RecursionError, KeyError, IndexError, TypeError):
            pass
        return self._line(str(said)) or "nothing"

    def _line(self, text: str) -> str:
        """One printable line of at most 200 characters; the key goes before it could be cut."""
        shown = "".join(c if c.isprintable() else " " for c in self._without_key(text))
        return " ".join(shown.split())[:200]

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text


def _key(variable: str) -> str:
    """The key that a variable holds; empty where none is named."""
    if not variable:
        return ""
    key = os.environ.get(variable, "").strip()
    # Neither the value nor the name is shown: a key may have been given in the name's place.
    if not key:
        raise HarnessError("key_variable names an environment variable that is not set: export it.")
    if not re.fullmatch(r"[!#-\[\]-~]+", key):
        raise HarnessError(
            "the environment variable that key_variable names holds no key: "
            "a key has no spaces, quotes, backslashes or letters beyond ASCII."
        )
    return key


def _in_parallel(
    ask: Callable[[bytes, Event], Answer], requests: Mapping[str, bytes], workers: int
) -> Iterator[tuple[str, Answer]]:
    """Each request's answer as it comes; the first error ends all.

    The threads are daemons: an interrupt does not wait for the endpoint.
    """
    waiting: SimpleQueue[tuple[str, bytes]] = SimpleQueue()
    done: SimpleQueue[tuple[str, Answer | BaseException]] = SimpleQueue()
    stop = Event()
    for item in requests.items():
        waiting.put(item)

    def work() -> None:
        while not stop.is_set():
            try:
                key, body = waiting.get_nowait()
            except Empty:
                return
            try:
                done.put((key, ask(body, stop)))
            except BaseException as error:
                done.put((key, error))

    for _ in range(min(workers, len(requests))):
        Thread(target=work, daemon=True).start()
    try:
        for _ in requests:
            key, answer = done.get()
            if isinstance(answer, BaseException):
                raise answer
            yield key, answer
    finally:
        stop.set()
