"""CTSD and its baselines from rows to a trained model, on a Marian of a few thousand weights."""

from pathlib import Path

import pytest
import torch
from tiny_translators import tiny_word_marian

from harness.dataset import EmbeddedDataset
from harness.errors import DataError
from harness.models.prompts import TranslationPrompt
from harness.models.translator import Translator
from harness.store import Store
from harness.training import Fit
from methods.ctsd.config import DataSettings
from methods.ctsd.data import encoded_pairs, mean_length
from methods.ctsd.plugin import Blocking, Ce, Ct, Ctsd, CtsdAttention, Unlikelihood

COLOURS = {"red": "rotes", "blue": "blaues", "long": "langes", "short": "kurzes"}
THINGS = {"dress": "Kleid", "shirt": "Hemd", "skirt": "Rock", "shoes": "Schuhe"}
TRAIN = {"lr": 3e-3, "epochs": 4, "batch_size": 16, "micro_batch": 16, "precision": "fp32"}
METHODS = [Ce, Unlikelihood, Ct, Ctsd, CtsdAttention]


def titles() -> list[tuple[str, str, str]]:
    return [
        (f"{colour} {thing}", COLOURS[colour], THINGS[thing])
        for colour in COLOURS
        for thing in THINGS
    ]


def planted_rows() -> list[dict[str, str]]:
    """Every title translated twice: once it goes on, once it falls back to its first word."""
    return [
        {"en": text, "de": f"{first} {second} {last}"}
        for text, first, second in titles()
        for last in ("Damen", f"{first} {second}")
    ]


@pytest.fixture
def make_fit(tmp_path):
    def make(rows: list[dict], model: Path, store: str = "store") -> Fit:
        return Fit(
            config=Ctsd.Config(),
            model=Translator.load(model),
            dataset=EmbeddedDataset("test", {"train": lambda: rows}, None),
            rows=rows,
            seed=0,
            folder=tmp_path / f"fit-{store}",
            store=Store(tmp_path / store),
            inputs={},
            resolve=str,
        )

    return make


def train(method: type[Ctsd], fit: Fit, **sections) -> Fit:
    method(method.Config.model_validate(sections)).fit(fit)
    return fit


@pytest.fixture(scope="module")
def marian(tmp_path_factory) -> Path:
    return tiny_word_marian(tmp_path_factory.mktemp("marian"))


@pytest.fixture(scope="module")
def oscillating(tmp_path_factory, marian) -> Path:
    """A Marian that has learned the planted titles, their falling back included."""
    folder = tmp_path_factory.mktemp("oscillating")
    rows = planted_rows()
    fit = Fit(
        config=Ce.Config(),
        model=Translator.load(marian),
        dataset=EmbeddedDataset("test", {"train": lambda: rows}, None),
        rows=rows,
        seed=0,
        folder=folder / "fit",
        store=Store(folder / "store"),
        inputs={},
        resolve=str,
    )
    train(Ce, fit, train={**TRAIN, "epochs": 40, "lr": 1e-2})
    fit.model.save(folder)
    return folder


def falls_back(model: Translator) -> float:
    """Probability of the first word in place of a third, in the mean over the titles."""
    prompts = [TranslationPrompt(text, "en", "de") for text, *_ in titles()]
    batch = model.collate(model.encode(prompts, [f"{a} {b} {a}" for _, a, b in titles()]))
    labels = batch.pop("labels")
    del batch["label_mask"]
    with torch.no_grad():
        third = model.module(**batch).logits[:, 2].softmax(-1)
    return third.gather(1, labels[:, 2:3]).mean().item()


@pytest.mark.parametrize("method", METHODS)
def test_training_lowers_the_loss_and_its_parts(make_fit, marian, method):
    fit = train(method, make_fit(planted_rows(), marian), train=TRAIN)
    first, last = fit.curves[0], fit.curves[-1]
    assert last["loss"] < 0.8 * first["loss"]
    assert last["cross_entropy"] < first["cross_entropy"]
    if method in (Ct, Ctsd, CtsdAttention):
        assert last["term"] < first["term"]
    assert (first["term"] > 0) == (method is not Ce)
    expected = first["cross_entropy"] + Ctsd.Config().loss.strength * first["term"]
    assert first["loss"] == pytest.approx(expected, rel=1e-4)


def test_a_planted_oscillation_is_unlearned_by_contrast_and_not_by_cross_entropy(
    make_fit, oscillating
):
    before = falls_back(Translator.load(oscillating))
    assert before == pytest.approx(0.5, abs=0.1)
    after = {}
    for method in (Ce, Ct, Ctsd):
        loss = {} if method is Ce else {"strength": 3.0}
        fit = make_fit(planted_rows(), oscillating, method.__name__)
        train(method, fit, loss=loss, train={**TRAIN, "epochs": 10})
        after[method] = falls_back(fit.model)
    assert after[Ce] == pytest.approx(0.5, abs=0.1)
    assert after[Ct] < after[Ce] - 0.15
    assert after[Ctsd] < after[Ce] - 0.15


def test_weights_of_one_train_the_weights_of_ct(make_fit, marian):
    trained = []
    for method, loss in ((Ct, {}), (Ctsd, {"similarity": "none", "gamma": 1.0})):
        fit = make_fit(planted_rows(), marian, method.__name__)
        train(method, fit, loss=loss, train={**TRAIN, "epochs": 2})
        trained.append(fit.model.module.state_dict())
    for name, weight in trained[0].items():
        torch.testing.assert_close(weight, trained[1][name], rtol=1e-4, atol=1e-5)


def test_every_method_trains_on_the_same_pairs(make_fit, marian):
    seen = {}
    for method in METHODS:
        fit = make_fit(planted_rows(), marian, method.__name__)
        fit.train = lambda rows, *_, name=method: seen.setdefault(name, rows)
        train(method, fit, train=TRAIN)
    first = [(pair.source.tolist(), pair.target.tolist()) for pair in seen[Ce]]
    assert len(first) == 32
    for pairs in seen.values():
        assert [(pair.source.tolist(), pair.target.tolist()) for pair in pairs] == first


def test_pairs_are_a_rows_texts_in_order_cut_and_limited(make_fit, marian):
    fit = make_fit(planted_rows(), marian)
    tokenizer = fit.model.tokenizer
    pairs = encoded_pairs(fit, DataSettings(limit=5))
    assert [tokenizer.decode(pair.source) for pair in pairs] == [
        f"{row['en']} </s>" for row in planted_rows()[:5]
    ]
    assert [tokenizer.decode(pair.target) for pair in pairs] == [
        f"{row['de']} </s>" for row in planted_rows()[:5]
    ]
    assert mean_length(pairs) == (4 + 5 + 4 + 5 + 4) / 5
    back = encoded_pairs(fit, DataSettings(source="de", target="en", limit=1, max_length=3))
    texts = [back[0].source, back[0].target]
    assert [tokenizer.decode(ids) for ids in texts] == ["rotes Kleid </s>", "red dress </s>"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"en": "red dress"}, "train row 3: "),
        ({"en": "red dress", "de": " "}, "train row 3: "),
        ({"en": None, "de": "Kleid"}, "train row 3: "),
        ({"en": "red dress", "de": 7}, "train row 3: 'de' is "),
        ({}, "train row 3: "),
    ],
)
def test_a_bad_row_is_named(make_fit, marian, row, message):
    rows = planted_rows()
    rows[2] = row
    with pytest.raises(DataError, match=message) as error:
        train(Ct, make_fit(rows, marian), train=TRAIN)
    assert "\n" not in str(error.value)


def test_a_remedy_leaves_the_model_as_it_is(make_fit, marian):
    fit = make_fit(planted_rows(), marian)
    Blocking(Blocking.Config()).fit(fit)
    before = Translator.load(marian).module.state_dict()
    for name, weight in fit.model.module.state_dict().items():
        assert torch.equal(weight, before[name])


def test_an_adapter_trains_alone(make_fit, marian):
    fit = make_fit(planted_rows(), marian)
    lora = {"r": 4, "alpha": 32, "targets": ["q_proj", "v_proj"]}
    train(Ctsd, fit, train={**TRAIN, "epochs": 8, "lora": lora})
    assert fit.curves[-1]["loss"] < fit.curves[0]["loss"]
    base = Translator.load(marian).module.state_dict()
    trained = {
        name.replace(".base_layer", ""): weight
        for name, weight in fit.model.module.get_base_model().state_dict().items()
    }
    for name, weight in base.items():
        assert torch.equal(weight, trained[name])
