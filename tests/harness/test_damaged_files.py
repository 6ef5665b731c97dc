"""Files of others that are damaged or of the wrong types: one line that names them."""

import io
import json
import shutil

import pyarrow
import pyarrow.parquet
import pytest
from tiny_translators import tiny_llama

from harness.errors import DataError, HarnessError
from harness.files import read_lines_tolerant
from harness.items import fingerprint_rows
from harness.kept import read_outputs
from harness.leaderboard import parse
from harness.models import loading
from harness.models.pictures import open_picture
from harness.schema import digest
from harness.seals import read_rows
from harness.sources import open_dataset
from harness.templates import read_templates

DEEP = "[" * 100_000
LONG = "9" * 5000


def refused(read, *parts):
    with pytest.raises(HarnessError) as error:
        read()
    said = str(error.value)
    assert "\n" not in said and all(part in said for part in parts), said


# Tables


@pytest.fixture
def table(tmp_path):
    """A parquet file with pictures, and where the pages of each column begin."""
    rows = [{"id": i, "image": {"bytes": bytes(range(200)) * 5, "path": None}} for i in range(4)]
    path = tmp_path / "rows.parquet"
    how = {"compression": "NONE", "use_dictionary": False}
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path, **how)
    group = pyarrow.parquet.read_metadata(path).row_group(0)
    return path, [group.column(i).data_page_offset for i in range(group.num_columns)]


@pytest.mark.parametrize("column", [0, 1])
@pytest.mark.parametrize("damage", [b"\xff" * 16, b"\x00" * 16, b"\x15\x00\x15\xff\xff\xff\x7f"])
def test_a_damaged_page_names_the_file(table, column, damage):
    path, offsets = table
    data = bytearray(path.read_bytes())
    data[offsets[column] : offsets[column] + len(damage)] = damage
    path.write_bytes(data)

    def read():
        for row in open_dataset(str(path)).rows():
            assert row["image"]

    refused(read, "rows.parquet: cannot be read as parquet (")


def test_a_table_whose_groups_are_fewer_than_its_footer_says(table):
    path, _ = table
    out = io.BytesIO(path.read_bytes()[:-200] + path.read_bytes()[-100:])
    path.write_bytes(out.getvalue())
    refused(lambda: open_dataset(str(path)).rows(), "rows.parquet: cannot be read as parquet (")


# JSON


def test_json_without_end_or_bottom_is_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    for text in (DEEP, DEEP + "]" * len(DEEP), LONG[:10] + "{"):
        path.write_text(text + "\n")
        refused(lambda: read_outputs(path, 1), "rows.jsonl: damaged")
        refused(lambda: read_rows(path), "rows.jsonl: damaged")
        refused(lambda: read_lines_tolerant(path), "rows.jsonl line 1: not JSON")
        refused(lambda: read_templates(path), "rows.jsonl")
        refused(lambda t=text: parse(t, "pope.json"), "pope.json: not JSON")
    path.write_text(LONG)
    refused(lambda: read_templates(path), "rows.jsonl: invalid JSON (")


def test_half_a_character_has_a_hash_of_its_own():
    whole, first, second = (digest({"target": text}) for text in ("é", "\ud800", "\ud801"))
    assert len({whole, first, second}) == 3
    assert digest({"target": "\ud800"}) == first


def test_a_number_of_any_size_has_a_fingerprint():
    rows = [{"id": 10**400}, {"id": 10**400 + 1}]
    assert len({fingerprint_rows([row]) for row in rows}) == 2


# Pictures


@pytest.mark.parametrize("value", [None, 3, 0.5, ["a.png"], {"bytes": None}, True])
def test_what_is_no_picture_is_named(value):
    with pytest.raises(DataError, match=f"is a {type(value).__name__}, not a picture"):
        open_picture(value)


# Models


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return tiny_llama(tmp_path_factory.mktemp("models") / "llama", chat=True)


FILES = [
    ("config.json", {"hidden_size": "16"}),
    ("config.json", {"num_attention_heads": [2]}),
    ("config.json", {"bos_token_id": "1"}),
    ("config.json", {"rope_parameters": 3}),
    ("config.json", {"architectures": {"a": 1}, "model_type": ["llama"]}),
    ("generation_config.json", {"eos_token_id": {"a": 1}}),
    ("tokenizer_config.json", {"eos_token": ["</s>"]}),
    ("tokenizer_config.json", {"model_max_length": {"a": 1}}),
    ("tokenizer.json", {"model": {"type": "BPE"}}),
    ("tokenizer.json", {"decoder": {"type": "Nothing"}}),
    ("tokenizer.json", {"added_tokens": [{"id": "7"}]}),
]


@pytest.mark.parametrize(("file", "change"), FILES, ids=str)
def test_wrong_types_in_a_models_files_name_the_folder(file, change, llama, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(llama, folder)
    path = folder / file
    said = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**said, **change}))
    with pytest.raises(HarnessError) as error:
        loading.load(folder, "causal-lm").generate(["red"], max_new_tokens=1)
    assert str(error.value).startswith(f"{folder}: cannot be loaded as a causal-lm model: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["{{", "{% for %}", "{{ 1 / 0 }}", "{{ messages[9].role }}"])
def test_a_broken_chat_template_is_named(text, llama, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(llama, folder)
    (folder / "chat_template.jinja").write_text(text)
    refused(lambda: loading.load(folder, "causal-lm").prompt_texts(["red"]), "template")


@pytest.mark.parametrize("text", ['{"base_model_name_or_path": NaN}', "[]", "{", DEEP, '{"a": 1}'])
def test_an_adapters_settings_without_a_base_are_named(text, llama, tmp_path):
    (tmp_path / "adapter_config.json").write_text(text)
    refused(lambda: loading.identity(tmp_path), "adapter_config.json: names no base model")


def test_an_adapters_settings_are_json(llama, tmp_path):
    said = json.dumps({"base_model_name_or_path": str(llama), "lora_alpha": float("nan")})
    (tmp_path / "adapter_config.json").write_text(said)
    refused(lambda: loading.identity(tmp_path), "adapter_config.json")
