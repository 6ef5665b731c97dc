"""The splits of the errands as rows."""

import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from tasks.flan.lab.operations import DOMAINS, Domain, answer, operations
from tasks.flan.lab.payloads import Split, held_back, payload
from tasks.flan.lab.prompts import OPENERS, Prompt, asked, confusable, wordings
from tasks.flan.lab.words import MOODS, TRADES, companies

Row = dict[str, Any]

SIZES: dict[Split, int] = {"train": 1200, "dev": 200, "test": 300}
GENERAL_SIZES: dict[Split, int] = {"train": 2400, "dev": 300, "test": 600}

HELD = 0.6
"""Share of held-back payloads in the set of a domain."""

VAGUE = 0.4
"""Share of vague wordings in every set."""

VAGUE_PROMPTS = 0.75
"""The same where requests are to be worded better, as in the base's corpus."""


def domain_rows(domain: Domain, split: Split) -> list[Row]:
    """The rows of a domain's set: mostly what the base has never read."""
    return _rows(domain, (domain,), HELD, split, SIZES[split])


def general_rows(split: Split) -> list[Row]:
    """Rows on the known part of all domains, in turn."""
    return _rows("general", DOMAINS, 0.0, split, GENERAL_SIZES[split])


def mixture_rows(split: Split) -> list[Row]:
    """The general rows and those of every domain."""
    return general_rows(split) + [row for d in DOMAINS for row in domain_rows(d, split)]


def prompt_rows(split: Split) -> list[Row]:
    """Requests on known payloads, mostly vague, with what answers them rightly and wrongly.

    Returns:
        id, prompt (without the sign that an answer follows), good_res, bad_res (the answer of an
        operation that the wording can be taken for), domain, operation, wording.
    """
    rng = random.Random(f"errands prompts {split}")
    found: dict[str, Row] = {}
    while len(found) < GENERAL_SIZES[split]:
        prompt = _request(DOMAINS[len(found) % len(DOMAINS)], 0.0, VAGUE_PROMPTS, split, rng)
        text, good = prompt.payload, answer(prompt.wording.operation, prompt.payload)
        taken_for = (answer(name, text) for name in confusable(prompt.wording.operation, text))
        bad = next((other for other in taken_for if other != good), None)
        if bad is None:
            continue
        operation = operations()[prompt.wording.operation]
        found.setdefault(
            prompt.text,
            {
                "id": f"prompts-{split}-{len(found):05}",
                "prompt": prompt.text,
                "good_res": good,
                "bad_res": bad,
                "domain": operation.domain,
                "operation": operation.name,
                "wording": prompt.wording.kind,
            },
        )
    return list(found.values())


def splits(make: Callable[[Split], list[Row]]) -> dict[str, Callable[[], list[Row]]]:
    """Name of a split -> what makes its rows: always the same ones, made anew at each call."""
    return {split: partial(make, split) for split in SIZES}


def _rows(name: str, domains: Sequence[Domain], held: float, split: Split, count: int) -> list[Row]:
    """Rows with distinct prompts, in random order."""
    rng = random.Random(f"errands {name} {split}")
    found: dict[str, Row] = {}
    while len(found) < count:
        prompt = _request(domains[len(found) % len(domains)], held, VAGUE, split, rng)
        found.setdefault(prompt.text, row(prompt, f"{name}-{split}-{len(found):05}"))
    return list(found.values())


def _request(domain: Domain, held: float, vague: float, split: Split, rng: random.Random) -> Prompt:
    """A request of a domain, held back or vague with the given probabilities."""
    operation = rng.choice([o.name for o in operations().values() if o.domain == domain])
    kind = "vague" if rng.random() < vague else "explicit"
    wording = rng.choice([w for w in wordings()[operation] if w.kind == kind])
    text = payload(operation, rng.random() < held, split, rng)
    return Prompt(rng.choice(OPENERS), wording, text)


def row(prompt: Prompt, name: str) -> Row:
    """A request as a row.

    Returns:
        id, domain, operation, wording (explicit or vague), held_back, prompt (ends with the sign
        that an answer follows), answer, and for news choices: the answers that could be.
    """
    operation = operations()[prompt.wording.operation]
    found: Row = {
        "id": name,
        "domain": operation.domain,
        "operation": operation.name,
        "wording": prompt.wording.kind,
        "held_back": held_back(operation.name, prompt.payload),
        "prompt": asked(prompt.text),
        "answer": answer(operation.name, prompt.payload),
    }
    if operation.domain == "news":
        found["choices"] = _choices(operation.name, prompt.payload)
    return found


def _choices(operation: str, payload: str) -> list[str]:
    """Four companies, two of them of the headline where there are; or every mood or trade."""
    if operation != "name":
        return list(MOODS if operation == "mood" else TRADES)
    known = list(companies())
    named = [word for word in payload.split() if word in known]
    after = known.index(named[-1]) + 1
    return list(dict.fromkeys([*named, *known[after:], *known]))[:4]
