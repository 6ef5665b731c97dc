"""How a checkpoint rewrites prompts: kept beside it, filled, read; damaged files in one line."""

import pytest
from pydantic import ValidationError

from harness.errors import HarnessError
from harness.models.rewriting import FILE, Rewriting, read_rewriting, rewritten


class Echo:
    """A model that says fixed texts, in order, and notes what it was asked."""

    def __init__(self, *said):
        self.said = list(said)
        self.asked = []

    def prompt_texts(self, prompts, new_tokens):
        return [f"<user>{prompt}" for prompt in prompts]

    def generate(self, texts, **settings):
        self.asked.append((list(texts), settings))
        return self.said


def test_what_is_written_is_read_again(tmp_path):
    rewriting = Rewriting(template="better: {prompt} =\n\u00e4", after="New:", temperature=0.7)
    rewriting.write(tmp_path / "checkpoint")
    assert read_rewriting(tmp_path / "checkpoint") == rewriting
    assert read_rewriting(tmp_path) is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b'{"template": "no place"}',
        b'{"template": "{prompt}", "top_p": 0}',
        b'{"template": "{prompt}", "temperature": -1}',
        b'{"template": "{prompt}", "max_new_tokens": 0}',
        b'{"template": "{prompt}", "more": 1}',
        b'{"by_model": true}',
    ],
)
def test_a_damaged_file_is_named_in_one_line(tmp_path, content):
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(HarnessError, match=r"rewriting\.json: damaged \(") as error:
        read_rewriting(tmp_path)
    assert "\n" not in str(error.value) and str(tmp_path) in str(error.value)


def test_a_folder_in_the_files_place_is_named(tmp_path):
    (tmp_path / FILE).mkdir()
    with pytest.raises(HarnessError, match=r"rewriting\.json: damaged"):
        read_rewriting(tmp_path)


def test_a_template_without_a_place_for_the_prompt_is_refused():
    with pytest.raises(ValidationError, match=r"holds \{prompt\}"):
        Rewriting(template="better: {Prompt}")


@pytest.mark.parametrize(
    "prompt", ["{prompt}", "{}", "{0}", "{x!r}", "%s", "\\1", "{{", "a{prompt}b", "\ud800", ""]
)
def test_braces_of_a_prompt_stay_as_they_are(prompt):
    rewriting = Rewriting(template='{"ask": "{prompt}", "{other}": {}}')
    assert rewriting.filled(prompt) == '{"ask": "' + prompt + '", "{other}": {}}'


def test_the_new_prompt_stands_after_the_first_mark():
    rewriting = Rewriting(template="{prompt}", after="New:")
    assert rewriting.prompt_in("Reasoning: short\nNew:  sort New: these \n") == "sort New: these"
    assert rewriting.prompt_in("Reasoning without an end") == ""
    assert rewriting.prompt_in("New:") == ""
    assert Rewriting(template="{prompt}").prompt_in("  New: sort\n") == "New: sort"


def test_a_prompt_stays_where_the_model_gives_no_new_one():
    model = Echo("New: sort : 3 1", "no mark", "New:  ")
    rewriting = Rewriting(
        template="better {prompt} =", after="New:", temperature=0.5, top_p=0.9, max_new_tokens=7
    )
    prompts = ["tidy : 3 1", "{prompt}", "mix : 2"]
    assert rewritten(model, rewriting, prompts, seed=3) == ["sort : 3 1", "{prompt}", "mix : 2"]
    assert model.asked == [
        (
            ["<user>better tidy : 3 1 =", "<user>better {prompt} =", "<user>better mix : 2 ="],
            {"max_new_tokens": 7, "temperature": 0.5, "top_p": 0.9, "seed": 3},
        )
    ]


def test_a_fixed_text_around_prompts_asks_no_model():
    rewriting = Rewriting(template="{prompt}\nthink", by_model=False)
    model = Echo()
    assert rewritten(model, rewriting, ["a", "{prompt}"]) == ["a\nthink", "{prompt}\nthink"]
    assert model.asked == []
