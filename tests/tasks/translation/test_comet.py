"""COMET through our process equals unbabel-comet's own; a bad checkpoint is one line.

Tests that need the engine are skipped where it is not installed; no test downloads anything.
"""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from harness import engines
from harness.errors import HarnessError
from tasks.translation.comet import checkpoint_file, checkpoint_identity, comet, comet_scores

NEEDS_ENGINE = pytest.mark.skipif(
    not engines.installed(comet),
    reason="the engine comet is not installed: harness engines install comet",
)

WORDS = {
    "dress": "kleid",
    "red": "rot",
    "shoes": "schuhe",
    "women": "damen",
    "summer": "sommer",
    "long": "lang",
    "cotton": "baumwolle",
    "party": "party",
}


def sentences() -> list[dict[str, str]]:
    """Twenty titles with a translation that repeats and one that does not; some are awkward."""
    source, target = list(WORDS), list(WORDS.values())
    rows = []
    for n in range(17):
        chosen = [(n * k + k) % len(WORDS) for k in range(1, 3 + n % 6)]
        reference = " ".join(target[i] for i in chosen)
        repeated = " ".join(target[chosen[-1]] for _ in range(n % 4))
        rows.append(
            {
                "src": " ".join(source[i] for i in chosen),
                "mt": f"{reference} {repeated}".strip(),
                "ref": reference,
            }
        )
    rows.append({"src": "dress", "mt": "", "ref": "kleid"})
    rows.append({"src": "连衣裙 \u2028 👗", "mt": "kleid\nkleid", "ref": 'kle"id\\'})
    rows.append({"src": "red " * 200, "mt": "rot " * 300, "ref": "rot"})
    return rows


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> tuple[Path, list[dict[str, float]]]:
    """A COMET model of random weights, made by the engine's own Python, and its own scores."""
    folder = tmp_path_factory.mktemp("comet")
    script = Path(__file__).parent / "comet_reference.py"
    maker = dataclasses.replace(comet, script=script)
    return folder, engines.call(maker, sentences(), folder=str(folder))


def scores(checkpoint: Path | str, rows: list[dict[str, str]] | None = None, **settings: int):
    rows = sentences() if rows is None else rows
    columns = [[row[key] for row in rows] for key in ("src", "mt", "ref")]
    return comet_scores(*columns, checkpoint=str(checkpoint), **settings)


@NEEDS_ENGINE
def test_scores_equal_those_of_unbabel_comet_itself(model):
    folder, expected = model
    ours = scores(folder / "checkpoints" / "model.ckpt", batch_size=4)
    assert len(ours) == 20
    assert ours == pytest.approx([row["predict"] for row in expected], abs=1e-6)
    assert ours == pytest.approx([row["forward"] for row in expected], abs=1e-4)
    assert max(ours) - min(ours) > 0.01


@NEEDS_ENGINE
def test_batches_and_order_do_not_matter(model, monkeypatch):
    folder, expected = model
    monkeypatch.chdir(folder.parent)
    backwards = scores(folder.name, sentences()[::-1], batch_size=7)
    assert backwards[::-1] == pytest.approx([row["forward"] for row in expected], abs=1e-4)


LOADING = """
import json, os, runpy, sys
rows = [json.loads(line) for line in sys.stdin]
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
load = runpy.run_path(json.loads(sys.argv[1])["scorer"])["load"]
for row in rows:
    try:
        load(row["checkpoint"])
        said = None
    except SystemExit as end:
        said = end.code
    answers.write(json.dumps({"said": said}) + "\\n")
answers.close()
"""
"""What the scorer says of several checkpoints, in one process: loading the library takes long."""


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """Neither a hub nor what it once left in a cache."""
    monkeypatch.setenv("HARNESS_HOME", str(engines.home().parent))
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@NEEDS_ENGINE
def test_a_name_that_cannot_be_had_is_one_line(offline):
    with pytest.raises(HarnessError, match=r"^engine 'comet': failed with exit") as caught:
        scores("Unbabel/wmt22-comet-da")
    text = str(caught.value)
    assert "no COMET checkpoint 'Unbabel/wmt22-comet-da', here or on the hub (Local" in text
    assert "\n" not in text and len(text) < 600


@NEEDS_ENGINE
def test_what_cannot_be_loaded_is_said_in_one_line(model, offline, tmp_path):
    copies = {kind: tmp_path / kind for kind in ("pointer", "truncated", "kind", "encoder", "bare")}
    for copy in copies.values():
        shutil.copytree(model[0], copy)
    weights = {kind: str(copy / "checkpoints" / "model.ckpt") for kind, copy in copies.items()}
    Path(weights["pointer"]).write_text("version https://git-lfs.github.com/spec/v1\n")
    Path(weights["truncated"]).write_bytes(Path(weights["truncated"]).read_bytes()[:-5000])
    (copies["kind"] / "hparams.yaml").write_text("class_identifier: no_such_metric\n")
    (copies["bare"] / "hparams.yaml").write_text("")
    (tmp_path / "loading.py").write_text(LOADING)
    loading = dataclasses.replace(comet, script=tmp_path / "loading.py")

    (model[0] / "encoder").rename(model[0] / "hidden")
    try:
        rows = [{"checkpoint": each} for each in (*weights.values(), "no-such-comet", "a b")]
        answers = engines.call(loading, rows, scorer=str(comet.script))
    finally:
        (model[0] / "hidden").rename(model[0] / "encoder")
    said = [answer["said"] for answer in answers]
    for text, file in zip(said, weights.values(), strict=False):
        assert text.startswith(f"'{file}' with its hparams.yaml cannot be loaded as a C")
    assert said[0].endswith("as a COMET model (UnpicklingError: Weights only load failed)")
    assert said[2].endswith("as a COMET model (KeyError: 'no_such_metric')")
    assert str(model[0] / "encoder") in said[3]
    assert [text[:39] for text in said[5:]] == [
        "no COMET checkpoint 'no-such-comet', he",
        "no COMET checkpoint 'a b', here or on t",
    ]
    assert all("\n" not in text and len(text) < 600 for text in said)


class Payload:
    """What runs when a pickle of it is loaded."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


@NEEDS_ENGINE
def test_no_code_of_a_checkpoint_runs(model, tmp_path, monkeypatch):
    """Neither by itself nor where the user has told torch to trust all files."""
    import torch

    copy, ran = tmp_path / "copy", tmp_path / "ran"
    shutil.copytree(model[0], copy)
    checkpoint = copy / "checkpoints" / "model.ckpt"
    content = torch.load(checkpoint, weights_only=True)
    torch.save({**content, "more": Payload(ran)}, checkpoint)
    for trusted in ("0", "1"):
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", trusted)
        with pytest.raises(HarnessError, match=r"cannot be loaded as a COMET model .*Unpickling"):
            scores(checkpoint)
        assert not ran.exists()
    torch.load(checkpoint, weights_only=False)
    assert ran.exists()


def local(folder: Path, weights: bytes = b"w", hparams: str = "class_identifier: x\n") -> Path:
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "model.ckpt").write_bytes(weights)
    (folder / "hparams.yaml").write_text(hparams)
    return folder


def test_without_the_engine_the_command_that_installs_it_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_HOME", str(tmp_path / "home"))
    with pytest.raises(engines.NotInstalledError, match="`harness engines install comet`"):
        scores(local(tmp_path / "model"))
    assert not (tmp_path / "home").exists()


def test_a_checkpoint_is_a_file_its_folder_or_a_name(tmp_path, monkeypatch):
    folder = local(tmp_path / "model")
    file = folder / "checkpoints" / "model.ckpt"
    monkeypatch.chdir(tmp_path)
    for given in (file, folder, "model", "model/checkpoints/model.ckpt"):
        assert checkpoint_file(str(given)) == file
    assert checkpoint_file("Unbabel/wmt22-comet-da") is None
    assert checkpoint_file("wmt20-comet-da") is None


def test_a_checkpoint_in_the_hubs_cache_is_a_link_beside_its_settings(tmp_path):
    blob = tmp_path / "blobs" / "0a1b"
    blob.parent.mkdir()
    blob.write_bytes(b"w")
    snapshot = local(tmp_path / "snapshots" / "c0ffee")
    (snapshot / "checkpoints" / "model.ckpt").unlink()
    (snapshot / "checkpoints" / "model.ckpt").symlink_to(blob)
    assert checkpoint_file(str(snapshot)) == snapshot / "checkpoints" / "model.ckpt"
    assert checkpoint_identity(str(snapshot)) == checkpoint_identity(str(local(tmp_path / "own")))


def test_what_is_no_checkpoint_is_said_in_one_line(tmp_path):
    for name in (str(tmp_path / "nothing"), "./nothing", "nothing.ckpt", "~/nothing/here"):
        with pytest.raises(HarnessError, match="no such COMET checkpoint") as caught:
            scores(name)
        assert str(caught.value).startswith(name)
    with pytest.raises(HarnessError, match=r"one file checkpoints/\*\.ckpt, here are: none"):
        scores(tmp_path)
    folder = local(tmp_path / "model")
    (folder / "checkpoints" / "epoch=1.ckpt").touch()
    with pytest.raises(HarnessError, match=r"here are: epoch=1\.ckpt, model\.ckpt\."):
        scores(folder)
    (folder / "hparams.yaml").unlink()
    with pytest.raises(HarnessError, match=r"hparams\.yaml' is missing"):
        scores(folder / "checkpoints" / "model.ckpt")


def test_identity_is_of_content_for_files_and_of_the_name_for_the_hub(tmp_path):
    first = checkpoint_identity(str(local(tmp_path / "a")))
    assert checkpoint_identity(str(local(tmp_path / "b"))) == first
    assert checkpoint_identity(str(tmp_path / "a" / "checkpoints" / "model.ckpt")) == first
    changed = [local(tmp_path / "c", b"v"), local(tmp_path / "d", hparams="class_identifier: y\n")]
    assert len({first, *(checkpoint_identity(str(each)) for each in changed)}) == 3
    assert checkpoint_identity("Unbabel/wmt22-comet-da") == "Unbabel/wmt22-comet-da"


def test_unequal_numbers_of_texts_are_refused(tmp_path):
    checkpoint = str(local(tmp_path / "model"))
    with pytest.raises(ValueError, match="shorter"):
        comet_scores(["a", "b"], ["a", "b"], ["a"], checkpoint)


def test_the_scorer_reads_nothing_of_ours():
    assert "harness" not in comet.script.read_text()
    assert json.dumps(comet.requirements) == (
        '["torch==2.13.0", "setuptools<81", "unbabel-comet==2.2.7"]'
    )
