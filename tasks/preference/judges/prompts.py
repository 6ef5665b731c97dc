"""What the `llm` judge asks: MT-bench's prompts, and AlpacaEval's from its file.

`mt_bench.jsonl` is FastChat's `fastchat/llm_judge/data/judge_prompts.jsonl` at commit 0e6d3e4,
unchanged (LMSYS, Apache-2.0; Zheng et al. 2023, arXiv 2306.05685).
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from harness.errors import DataError, HarnessError
from harness.judges import Case, Verdict
from harness.reading import read_text
from harness.schema import digest
from tasks.preference.judges import verdicts

MT_BENCH = Path(__file__).parent / "mt_bench.jsonl"
NAMES = ("mt-bench-pair", "mt-bench-single")
MESSAGE = re.compile(r"<\|im_start\|>(\w+)\n(.*?)<\|im_end\|>", re.DOTALL)
ALPACA_FIELDS = ("instruction", "output_1", "output_2")


@dataclass(frozen=True)
class Template:
    """A system message (none where it is empty) and a user's message with {fields}."""

    system: str
    user: str

    def messages(self, fields: Mapping[str, str]) -> list[dict[str, str]]:
        """The conversation, with all fields filled in at once: what an answer brings along in
        braces stays as it is."""
        names = "|".join(map(re.escape, fields))
        user = re.sub(rf"\{{({names})\}}", lambda found: fields[found[1]], self.user)
        system = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, {"role": "user", "content": user}]


@dataclass(frozen=True)
class Prompt:
    """A way to ask and to read the answer.

    answers: how many it shows, two to compare or one to grade.
    templates: by whether there are references, and by the number of turns.
    """

    name: str
    answers: int
    templates: Mapping[tuple[bool, int], Template]
    read: Callable[[str, Sequence[str]], Verdict]

    def hash(self) -> str:
        """Of all its texts and the rules of reading, 16 hex digits."""
        texts = [[template.system, template.user] for template in self.templates.values()]
        return digest([texts, self.read.__name__, verdicts.RULES])

    def messages(self, case: Case) -> list[dict[str, str]]:
        """The conversation in which the judge is asked about a case."""
        if len(case.answers) != self.answers:
            what = "grades one answer" if self.answers == 1 else "compares two answers"
            raise HarnessError(f"prompt '{self.name}' {what}: {len(case.answers)} were given.")
        template = self.templates.get((bool(case.references), len(case.turns)))
        if template is None:
            said = "with references" if case.references else "without references"
            raise HarnessError(
                f"prompt '{self.name}' has no text for {len(case.turns)} turns {said}."
            )
        return template.messages(_fields(case))


def open_prompt(name: str) -> Prompt:
    """A prompt of MT-bench by name, or AlpacaEval's from a file of its own format.

    Such a file (`alpaca_eval_clf.txt` and its like) has messages between <|im_start|> and
    <|im_end|>, shows {instruction}, {output_1} and {output_2}, and asks for m or M.
    """
    if name == "mt-bench-pair":
        return Prompt(name, 2, _mt_bench("pair", "v2"), verdicts.choice)
    if name == "mt-bench-single":
        return Prompt(name, 1, _mt_bench("single", "v1"), verdicts.rating)
    return Prompt(name, 2, {(False, 1): _chat_markup(Path(name))}, verdicts.identifier)


@cache
def _mt_bench(kind: str, version: str) -> Mapping[tuple[bool, int], Template]:
    rows = map(json.loads, MT_BENCH.read_text(encoding="utf-8").splitlines())
    texts = {row["name"]: Template(row["system_prompt"], row["prompt_template"]) for row in rows}
    return {
        (False, 1): texts[f"{kind}-{version}"],
        (False, 2): texts[f"{kind}-{version}-multi-turn"],
        (True, 1): texts[f"{kind}-math-v1"],
        (True, 2): texts[f"{kind}-math-v1-multi-turn"],
    }


def _chat_markup(path: Path) -> Template:
    try:
        text = read_text(path.expanduser())
    except FileNotFoundError:
        raise HarnessError(
            f"no prompt '{path}': there are {', '.join(NAMES)}, or a file of AlpacaEval's format."
        ) from None
    except (OSError, ValueError, RuntimeError) as error:
        raise DataError(f"{path}: cannot be read ({error}).") from None
    messages = [(role, content.strip()) for role, content in MESSAGE.findall(text)]
    roles = [role for role, _ in messages]
    if roles not in (["user"], ["system", "user"]):
        raise DataError(
            f"{path}: its messages are {', '.join(roles) or 'none'}. A prompt is "
            "<|im_start|>user ... <|im_end|>, before it perhaps one of 'system'."
        )
    user = messages[-1][1]
    missing = [field for field in ALPACA_FIELDS if f"{{{field}}}" not in user]
    if missing:
        raise DataError(f"{path}: the user's message does not show {{{missing[0]}}}.")
    return Template(messages[0][1] if len(messages) == 2 else "", user)


def _fields(case: Case) -> dict[str, str]:
    """A case under all the names that templates have for its parts."""
    fields = {"question": case.turns[0], "instruction": case.turns[0]}
    fields |= {f"question_{n}": text for n, text in enumerate(case.turns, 1)}
    fields |= {f"ref_answer_{n}": text for n, text in enumerate(case.references, 1)}
    if len(case.answers) == 1:
        (texts,) = case.answers
        return fields | {"answer": texts[0]} | {f"answer_{n}": t for n, t in enumerate(texts, 1)}
    for letter, number, texts in zip("ab", "12", case.answers, strict=True):
        fields |= {f"answer_{letter}": texts[0], f"output_{number}": texts[0]}
        fields |= {f"answer_{letter}_{n}": text for n, text in enumerate(texts, 1)}
    return fields
