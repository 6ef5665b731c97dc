"""`harness poir rewrite`: a prompt, a file, standard input; what is wrong in one line."""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from harness.errors import HarnessError
from harness.models import loading
from harness.models.rewriting import FILE, Rewriting, rewritten
from methods.poir.commands import app
from tests.methods.poir.poir_world import ERRANDS, base, prompt_rows

PROMPTS = [row["prompt"] for row in prompt_rows(3)]
GREEDY = ERRANDS.model_copy(update={"temperature": 0.0, "max_new_tokens": 16})


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rewriter")
    loading.load(base(), "causal-lm").save(folder)
    GREEDY.write(folder)
    return folder


@pytest.fixture(scope="module")
def expected(checkpoint):
    return rewritten(loading.load(checkpoint, "causal-lm"), GREEDY, PROMPTS)


def ask(*words, given=None):
    result = CliRunner().invoke(
        app, ["rewrite", *map(str, words)], input=given, catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    return result.output


def refused(*words, given=None):
    """The one line of a user's error."""
    result = CliRunner().invoke(app, ["rewrite", *map(str, words)], input=given)
    assert isinstance(result.exception, HarnessError), (result.output, result.exception)
    said = str(result.exception)
    assert "\n" not in said and result.output == ""
    return said


def test_a_prompt_is_printed_rewritten(checkpoint, expected):
    assert [ask(checkpoint, prompt) for prompt in PROMPTS] == [f"{new}\n" for new in expected]
    assert any(new != prompt for new, prompt in zip(expected, PROMPTS, strict=True))


def test_standard_input_is_read_where_no_prompt_is_given(checkpoint, expected):
    assert ask(checkpoint, given=f"  {PROMPTS[0]}\n") == f"{expected[0]}\n"


@pytest.mark.parametrize("kind", ["jsonl", "csv", "txt", "instructions"])
def test_a_file_of_prompts_gives_a_line_of_json_each(checkpoint, expected, tmp_path, kind):
    more = []
    if kind == "txt":
        file = tmp_path / "prompts.txt"
        file.write_text("\n".join([PROMPTS[0], "", *PROMPTS[1:]]))
    elif kind == "csv":
        file = tmp_path / "prompts.csv"
        file.write_text("\n".join(["n,asked", *(f"1,{prompt}" for prompt in PROMPTS)]))
        more = ["--field", "asked"]
    else:
        name = "instruction" if kind == "instructions" else "prompt"
        file = tmp_path / "prompts.jsonl"
        file.write_text("".join(json.dumps({name: prompt}) + "\n" for prompt in PROMPTS))
    lines = ask(checkpoint, "--file", file, *more).splitlines()
    assert [json.loads(line) for line in lines] == [
        {"prompt": prompt, "rewrite": new} for prompt, new in zip(PROMPTS, expected, strict=True)
    ]


def test_a_temperature_samples_by_the_seed(checkpoint):
    hot = [ask(checkpoint, PROMPTS[1], "--temperature", 2, "--seed", seed) for seed in (0, 0, 1, 2)]
    assert hot[0] == hot[1] and len(set(hot)) > 1


def test_a_fixed_text_is_set_around_prompts(checkpoint, tmp_path):
    loading.load(base(), "causal-lm").save(tmp_path)
    Rewriting(template="please {prompt} {", by_model=False).write(tmp_path)
    assert ask(tmp_path, "sort {prompt} : 3") == "please sort {prompt} : 3 {\n"


@pytest.mark.parametrize(
    "prompt", ["x" * 10_000, "\x07\x1b[2J\u202e", "{prompt} {prompt}", "</s><s>", "-- -x"]
)
def test_hostile_prompts_are_rewritten(checkpoint, prompt):
    assert ask(checkpoint, "--", prompt).strip()


@pytest.mark.parametrize("prompt", ["", "  ", "\n\t"])
def test_an_empty_prompt_is_refused(checkpoint, prompt):
    assert refused(checkpoint, prompt, given="not this") == "the prompt is empty."
    assert refused(checkpoint, given=prompt) == "the prompt is empty."


def test_half_a_character_is_refused(checkpoint):
    assert "half of a character" in refused(checkpoint, "sort \udcff")


def test_standard_input_that_is_no_text_is_refused(checkpoint):
    assert "standard input: no UTF-8 (byte 3)" in refused(checkpoint, given=b"ab\xff")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is empty"),
        ('{"prompt": ""}\n', "'prompt' is empty"),
        ('{"promt": "a"}\n', "line 1: there is no 'prompt'"),
        ('{"prompt": "a"}\n{', "line 2: no valid JSON"),
        ('{"prompt": "\\ud800"}\n', "half of a character"),
        ('{"prompt": ["a"]}\n', "line 1: 'prompt' is no text"),
    ],
)
def test_a_bad_file_is_named(checkpoint, tmp_path, content, said):
    file = tmp_path / "bad.jsonl"
    file.write_text(content)
    assert said in refused(checkpoint, "--file", file)


def test_a_file_that_is_not_there_or_has_no_prompt_is_refused(checkpoint, tmp_path):
    assert "nothing.jsonl: no such file" in refused(
        checkpoint, "--file", tmp_path / "nothing.jsonl"
    )
    (tmp_path / "blank.txt").write_text("\n \n")
    assert "empty" in refused(checkpoint, "--file", tmp_path / "blank.txt")
    (tmp_path / "bytes.txt").write_bytes(b"sort\n\xff\n")
    assert "line 2: no UTF-8" in refused(checkpoint, "--file", tmp_path / "bytes.txt")
    assert "cannot be read" in refused(checkpoint, "--file", tmp_path)


def test_a_prompt_and_a_file_are_one_too_many(checkpoint, tmp_path):
    assert "not both" in refused(checkpoint, "sort", "--file", tmp_path / "x.txt")


def test_a_model_that_rewrites_nothing_is_refused(tmp_path):
    assert "is no rewriter of prompts: give the checkpoint of a run" in refused("lab/errands", "a")


@pytest.mark.parametrize("place", ["./nowhere", "empty"])
def test_a_wrong_folder_is_refused(tmp_path, place):
    folder = tmp_path / place
    if place == "empty":
        folder.mkdir()
    assert str(folder) in refused(folder, "sort")


@pytest.mark.parametrize("damage", ["{", "[]", '{"template": "no place"}', '{"by_model": 3}'])
def test_a_damaged_rewriting_is_named(tmp_path, damage):
    loading.load(base(), "causal-lm").save(tmp_path)
    (tmp_path / FILE).write_text(damage)
    said = refused(tmp_path, "sort")
    assert f"{tmp_path / FILE}: damaged (" in said and "pydantic" not in said


def test_a_damaged_setting_of_rewriting_is_named(tmp_path):
    loading.load(base(), "causal-lm").save(tmp_path)
    (tmp_path / FILE).write_text('{"template": "no place"}')
    assert refused(tmp_path, "sort").endswith("damaged (template: a template holds {prompt}).")


@pytest.mark.parametrize("temperature", ["nan", "inf"])
def test_a_temperature_that_is_no_number_is_refused(checkpoint, temperature):
    said = refused(checkpoint, "sort", "--temperature", temperature)
    assert said == f"--temperature: {temperature} is not a finite number."


@pytest.mark.parametrize("seed", ["-1", "9223372036854775808"])
def test_a_seed_that_no_generator_takes_is_refused(checkpoint, seed):
    result = CliRunner().invoke(app, ["rewrite", str(checkpoint), "sort", "--seed", seed])
    assert result.exit_code == 2 and "is not in the range" in result.output


def test_weights_that_are_damaged_are_named(checkpoint, tmp_path):
    loading.load(base(), "causal-lm").save(tmp_path)
    GREEDY.write(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    assert "cannot be loaded as a causal-lm model" in refused(tmp_path, "sort")


def test_the_command_line_prints_one_line_and_ends_with_two(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "harness", "poir", "rewrite", str(tmp_path), "sort"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("harness: ") and done.stderr.count("\n") == 1
