"""What users write as values: read as they mean it, or refused in one line."""

import datetime
import json
import math
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from harness.cards import read_card
from harness.configs import read_value, run_config
from harness.errors import LONGEST, DataError, HarnessError, PluginError, one_line
from harness.recipes import read_recipe
from harness.schema import MOST_SEEDS
from harness.values import check_plain, read_yaml
from tests.attacks.mutations import YAML, bomb

MERGES = "a0: &a0 {x: 1}\n" + "\n".join(
    f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}" for i in range(1, 9)
)


@pytest.mark.parametrize("text", [*YAML, bomb(), MERGES], ids=lambda text: repr(text[:20]))
def test_any_text_is_read_or_refused_in_one_line(text):
    said = None
    try:
        value = read_yaml(text)
        check_plain(value, "--set")
    except (ValueError, HarnessError) as error:
        said = str(error)
    if said is None:
        json.dumps(value, allow_nan=False).encode()
    else:
        assert "\n" not in said and 0 < len(said) < 400


PLAIN = [
    "3",
    "-0.5",
    "true",
    "null",
    "a b",
    "[1, a]",
    "{a: {b: [1]}}",
    "'3'",
    "no",
    "",
    "a: |\n  x",
]


@pytest.mark.parametrize("text", PLAIN)
def test_plain_yaml_is_read_as_ever(text):
    assert read_yaml(text) == yaml.safe_load(text)


def test_deep_nesting_is_refused_at_once():
    import time

    started = time.process_time()
    for text in ("[" * 100_000, '{"a":' * 100_000, "[" * 100_000 + "]" * 100_000):
        with pytest.raises(ValueError, match="nested too deep"):
            read_yaml(text)
    assert time.process_time() - started < 2
    assert read_yaml("[[], {}, " * 300 + "]" * 300)


def test_a_date_stays_the_text_that_it_is():
    assert read_yaml("[2020-01-01, 2020-13-45]") == ["2020-01-01", "2020-13-45"]
    assert isinstance(yaml.safe_load("2020-01-01"), datetime.date), "YAML's own would not"


def test_a_key_that_is_there_twice_is_refused_and_a_merged_one_is_not():
    with pytest.raises(ValueError, match="the key 'a' is there twice"):
        read_yaml("{b: {a: 1, a: 2}}")
    text = "top: {x: &x {a: 1, b: 1}, y: &y {<<: *x, a: 2}}\nz: {<<: *y, b: 3}"
    assert read_yaml(text)["z"] == {"a": 2, "b": 3}


WRONG = [
    ({1: 2}, "--set: the key 1 is not a string: write it in quotes"),
    ({"a": {None: 2}}, "--set: a: the key None is not a string"),
    ({"a": [1, math.nan]}, "--set: a.1: nan is not a finite number"),
    ({"a": 2**63}, "--set: a: the number has more than 64 bits"),
    ({"a": "x\x00"}, "--set: a: holds a NUL character"),
    ({"a": "\ud800"}, "--set: a: holds half of a character"),
    ({"\ud800": 1}, "--set: a key holds half of a character"),
    ({"a": {1}}, "--set: a: a set is not a string, number, list or mapping"),
    ({"a": b"x"}, "--set: a: a bytes is not a string"),
    ({"a": NotImplemented}, "--set: a: a NotImplementedType is not a string"),
    (range(3), "--set: a range is not a string"),
]


@pytest.mark.parametrize(("value", "said"), WRONG, ids=lambda value: repr(value)[:30])
def test_what_no_file_could_hold_is_named_with_its_place(value, said):
    with pytest.raises(HarnessError) as error:
        check_plain(value, "--set")
    assert str(error.value).startswith(said)


def test_a_list_in_itself_ends():
    value = [[]]
    value[0].append(value)
    with pytest.raises(HarnessError, match="nested deeper than 50 levels"):
        check_plain({"a": value}, "set")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | st.text("aé\n🙂"),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("ab"), inner),
)


@given(json_values)
def test_every_value_of_json_is_plain(value):
    check_plain(value, "--set")
    assert read_yaml(json.dumps(value, ensure_ascii=False)) == value


# Where values are read

HOSTILE = [
    "!!int x",
    "!!bool maybe",
    "[1, 2",
    "'",
    "!!timestamp x",
    "9" * 5000,
    "[" * 3000,
    "=",
    "@",
]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:12]))
def test_a_setting_that_yaml_cannot_finish_is_the_text_itself(text):
    assert read_value(text) == text
    config = run_config({"method": "a", "tasks": "b", "set": {"x": text}})
    assert config.set == {"x": text}


@pytest.mark.parametrize("field", ["set", "judge_option"])
@pytest.mark.parametrize("text", ["{1: 2}", "[.nan]", "!!set {a}", "- " * 100, bomb(3, 9)])
def test_a_setting_that_is_no_plain_value_is_refused(field, text):
    if text.startswith("a0"):
        text = bomb()
        assert read_value(text) == text, "nothing is expanded"
        return
    with pytest.raises(HarnessError, match=f"^{field} x: "):
        run_config({"method": "a", "tasks": "b", field: {"x": text}})


@pytest.mark.parametrize("text", [t for t in YAML if t.strip()], ids=lambda text: repr(text[:12]))
def test_a_config_a_card_and_a_mixture_are_refused_in_one_line(text, tmp_path):
    file = tmp_path / "x.yaml"
    file.write_bytes(f"{text}\n".encode("utf-8", "surrogatepass"))
    for read, kind in (
        (lambda: run_config({}, file), HarnessError),
        (lambda: read_card(file), PluginError),
        (lambda: read_recipe(file), DataError),
    ):
        with pytest.raises(kind) as error:
            read()
        assert "x.yaml" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("field", ["runs", "leaderboards", "model", "source", "engine", "limit"])
@pytest.mark.parametrize("value", [[], ["a"], {"a": ["b"]}, 10**400, {1: 2}, b"x", "a\x00"])
def test_a_list_or_a_number_where_a_path_belongs_is_named(field, value):
    if field == "source" and value == {"a": ["b"]}:
        assert "source" in field
    with pytest.raises(HarnessError, match=field) as error:
        run_config({"method": "a", "tasks": "b", field: value})
    assert "\n" not in str(error.value) and len(str(error.value)) < 300


# Seeds

MANY = [1_000_000_000, "1000000000", MOST_SEEDS + 1, list(range(MOST_SEEDS + 1)), "9" * 400]


@pytest.mark.parametrize("given_seeds", MANY, ids=lambda value: str(value)[:12])
def test_more_than_ten_thousand_seeds_are_refused_before_a_list_is_made(given_seeds, tmp_path):
    for field in ({"seeds": given_seeds}, {}):
        file = tmp_path / "run.yaml"
        file.write_text(json.dumps({"seeds": given_seeds}))
        with pytest.raises(HarnessError, match="seeds") as error:
            run_config({"method": "a", "tasks": "b", **field}, None if field else file)
        assert (
            "10,000" in str(error.value)
            or "10000" in str(error.value)
            or "64 bits" in str(error.value)
        )
        assert len(str(error.value)) < 300


def test_ten_thousand_seeds_are_allowed_and_each_fits_numpy():
    assert len(run_config({"method": "a", "tasks": "b", "seeds": MOST_SEEDS}).seeds) == MOST_SEEDS
    for wrong in (2**32, -1, 2**63):
        with pytest.raises(HarnessError, match="seeds"):
            run_config({"method": "a", "tasks": "b", "seeds": [wrong]})
        with pytest.raises(HarnessError, match="seeds"):
            run_config({"method": "a", "tasks": "b", "seeds": f"{wrong},"})


def test_harness_run_refuses_them_too():
    import harness

    with pytest.raises(HarnessError, match="seeds: at most 10,000 seeds"):
        harness.run(method="dpo", tasks=["pope"], seeds=10**9)


# Messages


@given(st.text())
def test_a_message_is_one_printable_line(text):
    shown = one_line(text)
    assert shown.isprintable() and "\n" not in shown
    if text.isprintable() and text.split(" ") == text.split() and len(text) <= LONGEST:
        assert shown == text


def test_of_a_long_message_place_and_fix_are_kept():
    shown = one_line(f"pairs.jsonl line 3: {'x' * 100_000}: cut it.")
    assert shown.startswith("pairs.jsonl line 3: xx") and shown.endswith("xx: cut it.")
    assert len(shown) <= LONGEST


def test_a_path_of_any_length_is_only_not_there(tmp_path):
    from harness.models import loading
    from harness.sources import open_dataset

    for name in ("é" * 300, "~nobody/x", str(Path(tmp_path, "a" * 300, "b" * 5000))):
        with pytest.raises(HarnessError):
            loading.resolve(f"{name}//")
        with pytest.raises(HarnessError):
            open_dataset(f"{name}.jsonl")
