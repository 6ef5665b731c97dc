"""`harness score` on translations: systems of a file, options, what a translator said of itself."""

import json
import shlex
from pathlib import Path

import launch
import pytest
import sacrebleu

from harness import leaderboard
from harness.compare import load
from harness.kept import outputs_path

SEGMENTS = Path(__file__).parents[4] / "shared/data/translation/wmt21_ted_mqm_zhen/segments.jsonl"
REFERENCES = ["rotes Kleid mit Tasche", "blaues Hemd für Herren", "langer Rock"]
SYSTEMS = {
    "Right": REFERENCES,
    "Looping": ["Kleid Kleid Kleid Kleid", "blaues Hemd Hemd Herren", "Rock Rock Rock Rock"],
    "Mute": ["", "", ""],
}


@pytest.fixture
def folder(tmp_path):
    rows = [{"id": f"t{i}", "de": text, "en": "red dress"} for i, text in enumerate(REFERENCES)]
    write(tmp_path / "items.jsonl", rows)
    return tmp_path


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run(folder, *words, task="wmt", source="items.jsonl"):
    return launch.run(["score", "--task", task, "--source", source, *words], folder)


def scored(folder, *words, task="wmt", **more):
    """Name -> entry of the task's leaderboard after the command."""
    done = run(folder, *words, task=task, **more)
    assert done.status == 0, done.stderr
    board = leaderboard.read(folder / "leaderboards" / f"{task}.json")
    return {entry.model.name: entry for entry in board.entries.values()}


def systems_file(folder):
    rows = [
        {"id": f"t{i}", "mt": {name: texts[i] for name, texts in SYSTEMS.items()}}
        for i in (2, 0, 1)
    ]
    return write(folder / "mt.jsonl", rows).name


def test_each_system_of_a_file_scores_as_by_sacrebleu(folder):
    found = scored(folder, "--predictions", systems_file(folder), "--field", "mt")
    assert set(found) == {f"mt/{name}" for name in SYSTEMS}
    for name, texts in SYSTEMS.items():
        metrics = found[f"mt/{name}"].metrics
        expected = {
            "bleu": sacrebleu.corpus_bleu(texts, [REFERENCES]).score,
            "chrf": sacrebleu.corpus_chrf(texts, [REFERENCES]).score,
            "ter": sacrebleu.corpus_ter(texts, [REFERENCES]).score,
        }
        for metric, value in expected.items():
            assert metrics[metric].value == pytest.approx(value, rel=1e-5), (name, metric)
        assert metrics["length_limit"].value is None, "nobody said whether it ended"
    assert "tok:13a" in found["mt/Right"].metrics["bleu"].signature
    assert found["mt/Looping"].metrics["rep_1"].value == pytest.approx(
        (3 / 4 + 1 / 4 + 3 / 4) / 3, abs=1e-6
    )
    assert found["mt/Mute"].metrics["length_ratio"].value == 0


def test_an_empty_output_is_one_in_a_table_and_in_text(folder):
    texts = [REFERENCES[0], "", REFERENCES[2]]
    rows = [f"t{i}\t{text}" for i, text in enumerate(texts)]
    (folder / "table.tsv").write_text("\n".join(["id\toutput", *rows]) + "\n")
    (folder / "plain.de").write_text("\n".join(texts) + "\n")
    write(folder / "lines.jsonl", [{"output": text} for text in texts])
    for name in ("table.tsv", "plain.de", "lines.jsonl"):
        found = scored(folder, "--predictions", name)
    values = [found[name].metrics for name in ("table", "plain", "lines")]
    assert values[0] == values[1] == values[2]
    assert values[0]["length_ratio"].value == pytest.approx(6 / 10, abs=1e-6)


def test_options_are_part_of_card_and_place(folder):
    said = ["--predictions", systems_file(folder), "--field", "mt.Looping"]
    plain = scored(folder, *said)["mt/Looping"]
    options = ["--option", "source=de", "--option", "target=en", "--option", "tokenizer=char"]
    done = run(folder, *said, *options)
    assert done.status == 0, done.stderr
    board = leaderboard.read(folder / "leaderboards/wmt.json").entries
    (changed,) = [entry for entry in board.values() if entry.place != plain.place]
    assert changed.task.options == {"source": "de", "target": "en", "tokenizer": "char"}
    assert changed.place.endswith('source="de" target="en" tokenizer="char"')
    assert changed.task.card != plain.task.card
    assert "tok:char" in changed.metrics["bleu"].signature
    words = shlex.split(changed.provenance.command)
    text = (folder / "leaderboards/wmt.json").read_bytes()
    assert launch.run(words[1:], folder).status == 0
    assert (folder / "leaderboards/wmt.json").read_bytes() == text


def test_what_a_translator_said_of_itself_is_scored_again(folder):
    """Outputs as a run keeps them know whether each came to its end."""
    rows = [
        {"id": f"t{i}", "outputs": [text], "details": {"finished": i > 0}}
        for i, text in enumerate(REFERENCES)
    ]
    write(folder / "kept.jsonl", rows)
    first = scored(folder, "--predictions", "kept.jsonl", "--name", "first")["first"]
    assert first.metrics["length_limit"].value == pytest.approx(1 / 3, abs=1e-6)
    kept = outputs_path(folder / "runs", first)
    again = scored(folder, "--predictions", kept, "--name", "again")["again"]
    assert again.metrics == first.metrics and again.items == first.items


def test_outputs_that_differ_only_in_their_file_are_one_result(folder):
    found = scored(folder, "--predictions", systems_file(folder), "--field", "mt.Right")
    (folder / "right.txt").write_text("\n".join(REFERENCES) + "\n")
    found = scored(folder, "--predictions", "right.txt", "--name", "right")
    assert found["right"].model.weights == found["mt/Right"].model.weights
    assert found["right"].metrics == found["mt/Right"].metrics


@pytest.mark.skipif(not SEGMENTS.is_file(), reason="the shared data is not here")
def test_real_systems_are_an_entry_each(tmp_path):
    words = ["--predictions", SEGMENTS, "--field", "systems", "--limit", "12"]
    words += ["--option", "source=zh", "--option", "target=en"]
    found = scored(tmp_path, *words, source=SEGMENTS)
    rows = [json.loads(line) for line in SEGMENTS.read_text(encoding="utf-8").splitlines()[:12]]
    assert set(found) == {f"segments/{name}" for name in rows[0]["systems"]}
    for name in ("Online-W", "Facebook-AI"):
        texts = [row["systems"][name] for row in rows]
        references = [[row["refs"][ref] for row in rows] for ref in ("ref", "refB")]
        value = found[f"segments/{name}"].metrics["chrf"].value
        assert value == pytest.approx(sacrebleu.corpus_chrf(texts, references).score, rel=1e-5)
    assert str(SEGMENTS.parent) not in (tmp_path / "leaderboards/wmt.json").read_text()
    assert set(load(tmp_path / "leaderboards")) == {(False, "wmt")}
