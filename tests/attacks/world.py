"""What the fuzzer spoils: small files of every format, and models of a few thousand weights."""

import gzip
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Rows = list[dict[str, Any]]
RANGE = range(1, 5)

PICTURED: Rows = [
    {"question_id": i, "image": f"{i}.png", "text": "Is there a cat?", "label": "yes"}
    for i in RANGE
]
CHOICE: Rows = [
    {"index": i, "image": f"{i}.png", "question": "Which?", "A": "cat", "B": "dog", "answer": "A"}
    for i in RANGE
]
SHR: Rows = [
    {"id": i, "image": f"{i}.png", "objects": ["cat", "dog"], "question": "Describe it."}
    for i in RANGE
]
MMVET: Rows = [
    {
        "question_id": f"v1_{i}",
        "image": f"{i}.png",
        "question": "How many?",
        "answer": "two <OR> 2",
        "capability": ["rec", "math"],
    }
    for i in RANGE
]
LLAVABENCH: Rows = [
    {
        "question_id": i,
        "image": f"{i}.png",
        "question": "What?",
        "caption": ["a cat", "a mat"],
        "gpt_answer": "A cat on a mat.",
        "category": "conv",
    }
    for i in RANGE
]
PAIRS: Rows = [
    {"image": f"{i}.png", "question": "What is it?", "chosen": "a cat.", "rejected": "a dog."}
    for i in RANGE
]
TEXTS: Rows = [
    {"id": f"t{i}", "en": "red dress", "de": "rotes Kleid", "doc": "a", "category": "clothes"}
    for i in RANGE
]
WMT: Rows = [
    {"id": f"t{i}", "source": "red dress", "target": "rotes Kleid", "references": {"a": "Kleid"}}
    for i in RANGE
]
TITLES: Rows = [
    {
        **{"id": f"ap-{i}", "source": "qaa dress", "target": "qab dress"},
        "concepts": [{"forms": ["dress"], "count": 1}],
    }
    for i in RANGE
]
PROMPTS: Rows = [
    {
        **{"id": i, "prompt": f"sum {i}", "answer": "2", "good_res": "two", "bad_res": "no"},
        **{"instruction": f"sum {i}", "output": "2", "context": "numbers", "category": "math"},
    }
    for i in RANGE
]
MTBENCH: Rows = [
    {"question_id": i, "category": "math", "turns": ["a?", "b?"], "reference": ["a", "b"]}
    for i in RANGE
]
CATALOGUE: Rows = [
    {
        **{"id": i, "image": f"{i}.png", "title": f"red dress {i}", "product": f"p{i}"},
        **{"category": "dress", "subcategory": "red", "label": i % 3},
    }
    for i in RANGE
]
ARC: Rows = [
    {
        "id": f"q{i}",
        "question": "Which?",
        "choices": {"text": ["a", "b"], "label": ["A", "B"]},
        "answerKey": "A",
    }
    for i in RANGE
]
GSM: Rows = [{"question": f"1 + {i}?", "answer": f"It is so.\n#### {1 + i}"} for i in RANGE]
PUBMED: Rows = [
    {
        **{"id": i, "QUESTION": "Is it?", "CONTEXTS": ["a", "b"], "final_decision": "yes"},
        "LABELS": ["A"],
    }
    for i in RANGE
]
OUTPUTS: Rows = [{"id": str(i), "output": "yes", "details": {"ranks": [1]}} for i in RANGE]

TASKS: Mapping[str, Rows] = {
    "pope": PICTURED,
    "mmbench": CHOICE,
    "shr": SHR,
    "mmvet": MMVET,
    "llavabench": LLAVABENCH,
    "wmt": WMT,
    "ecommerce_titles": TITLES,
    "taxonomy_paths": TEXTS,
    "vicuna_eval": PROMPTS,
    "alpaca_eval": PROMPTS,
    "mtbench": MTBENCH,
    "fashion_catalog": CATALOGUE,
    "fashion_catalog_sample100": CATALOGUE,
    "fashion_mnist": CATALOGUE,
    "garments": CATALOGUE,
    "arc_easy": ARC,
    "gsm8k": GSM,
    "pubmedqa": PUBMED,
}
"""Task -> rows that it reads."""

MIXTURE: dict[str, Any] = {
    "seed": 0,
    "rows": 6,
    "parts": [
        {
            "source": "prompts.jsonl",
            "templates": [{"prompt": "Q: {prompt}", "answer": "{answer}"}],
            "fields": {"x": "answer ~ category"},
            "weight": 2,
        },
        {"source": "prompts.jsonl", "templates": "templates.json#sums", "limit": 3},
    ],
}
TEMPLATES: dict[str, Any] = {
    "PATTERNS": {"sums": [["{prompt}?", "{answer}"]], "b": [["{options_}", "{answer}"]]}
}
CONFIG: dict[str, Any] = {
    "method": ["dpo"],
    "tasks": ["pope"],
    "seeds": [0, 1],
    "limit": 2,
    "set": {"loss": {"beta": 0.2}, "train": {"lr": 1e-4, "lora": {"r": 4}, "freeze": ["a"]}},
}


@dataclass(frozen=True)
class World:
    """Where everything lies."""

    folder: Path
    models: Mapping[str, tuple[str, Path]]
    """Name -> role and folder; small files are mutated, the others are linked."""


def made_world(folder: Path) -> World:
    """Write everything into a folder."""
    from PIL import Image

    (folder / "images").mkdir(parents=True, exist_ok=True)
    for number in RANGE:
        picture = Image.new("RGB", (24, 24), (40 * number, 90, 10))
        for suffix in ("png", "jpg", "gif", "webp", "bmp", "tiff"):
            picture.save(folder / "images" / f"{number}.{suffix}")
    for name, rows in TASKS.items():
        lines(folder / f"{name}.jsonl", rows)
    lines(folder / "prompts.jsonl", PROMPTS)
    (folder / "templates.json").write_text(json.dumps(TEMPLATES), encoding="utf-8")
    return World(folder, _models(folder / "models"))


def lines(path: Path, rows: Sequence[Any]) -> Path:
    """Write rows as JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def _models(folder: Path) -> dict[str, tuple[str, Path]]:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from methods.modula import adapting, checkpoint
    from tests.tiny_clip import tiny_clip
    from tests.tiny_llava import tiny_llava
    from tests.tiny_translators import tiny_llama, tiny_word_marian

    llama = tiny_llama(folder / "llama", chat=True)
    made: dict[str, tuple[str, Callable[[], Path]]] = {
        "llama": ("causal-lm", lambda: llama),
        "llava": ("vision-language", lambda: tiny_llava(folder / "llava")),
        "marian": ("translator", lambda: tiny_word_marian(folder / "marian")),
        "clip": ("dual-encoder", lambda: tiny_clip(folder / "clip", "red dress")),
    }
    found = {name: (role, make()) for name, (role, make) in made.items()}
    module = AutoModelForCausalLM.from_pretrained(llama)
    peft = get_peft_model(module, LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM"))
    peft.save_pretrained(folder / "peft")
    found["peft"] = ("causal-lm", folder / "peft")
    from harness.models import loading

    module = AutoModelForCausalLM.from_pretrained(llama)
    adapting.adapt(module, ["q_proj"], "flan", {"math": 2}, universal_rank=2)
    checkpoint.save(module, folder / "modula", str(llama), loading.identity(llama))
    found["modula"] = ("causal-lm", folder / "modula")
    return found


def table(rows: Rows, delimiter: str) -> str:
    """Rows as a table with a header; what is no text stands as JSON."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [
        [c if isinstance(c := row.get(name, ""), str) else json.dumps(c) for name in columns]
        for row in rows
    ]
    quoted = [[f'"{cell.replace(chr(34), chr(34) * 2)}"' for cell in each] for each in cells]
    return "".join(f"{delimiter.join(each)}\n" for each in [columns, *quoted])


def parquet(rows: Rows, **how: Any) -> bytes:
    """Rows as a parquet file."""
    import io

    import pyarrow
    import pyarrow.parquet

    out = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), out, **how)
    return out.getvalue()


def hdf5(path: Path, rows: int = 4, **how: Any) -> bytes:
    """A catalogue with pictures as an HDF5 file."""
    import h5py
    import numpy as np

    with h5py.File(path, "w") as file:
        for name, array in _arrays(rows, np).items():
            file.create_dataset(name, data=array, **how)
    return path.read_bytes()


def npz(rows: int = 4) -> bytes:
    """The same as a compressed npz."""
    import io

    import numpy as np

    out = io.BytesIO()
    np.savez_compressed(out, **_arrays(rows, np))
    return out.getvalue()


def _arrays(rows: int, np: Any) -> dict[str, Any]:
    return {
        "image": np.arange(rows * 64, dtype=np.uint8).reshape(rows, 8, 8),
        "title": np.array([f"dress {i}".encode() for i in range(rows)]),
        "label": np.arange(rows) % 3,
        "price": np.linspace(0, 1, rows * 2).reshape(rows, 2),
    }


def gzipped(data: bytes) -> bytes:
    """Data as gzip packs it, always the same."""
    return gzip.compress(data, mtime=0)
