"""ASPO from rows to a trained model, on a LLaVA of a few thousand random weights."""

import math

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_clip import tiny_clip
from tiny_llava import WORDS, tiny_llava

from harness.dataset import EmbeddedDataset
from harness.errors import DataError, HarnessError
from harness.losses import answer_log_probs
from harness.models.vision_language import VisionLanguage, VisionPrompt
from harness.settings import Lora, TrainSettings
from harness.store import Store
from harness.training import Fit, prepare
from methods.aspo.batches import Batches, model_inputs
from methods.aspo.config import PairSettings
from methods.aspo.data import Pair, preference_pairs
from methods.aspo.loss import sentence_sums
from methods.aspo.noise import diffusion_noise
from methods.aspo.plugin import Aspo, AspoOracle, AspoRandom, Dpo
from methods.aspo.prepare import reference_log_probs, sentence_scores, similarity_encoder

COLORS = ["red", "blue", "green", "yellow", "purple", "white"]
TRAIN = {"lr": 3e-3, "epochs": 4, "batch_size": 4, "micro_batch": 4, "freeze": ["vision_tower"]}


def picture(index: int) -> Image.Image:
    noise = torch.randint(256, (32, 32, 3), generator=torch.Generator().manual_seed(index))
    return Image.fromarray(noise.to(torch.uint8).numpy())


def paired_rows(count: int = 12) -> list[dict]:
    """The chosen answer's first sentence is right; the rejected one's second is planted."""
    return [
        {
            "image": picture(i),
            "question": "describe the picture",
            "chosen": f"there is a {COLORS[i % 6]} circle. it is at the top left.",
            "rejected": f"there is a {COLORS[i % 6]} circle. there are four black star objects.",
        }
        for i in range(count)
    ]


def question_rows(count: int = 40) -> list[dict]:
    questions = ["describe the picture", "what shape is it ?", "is there a red star ?"]
    return [{"image": picture(i), "question": questions[i % 3]} for i in range(count)]


@pytest.fixture(scope="module")
def llava(tmp_path_factory):
    return tiny_llava(tmp_path_factory.mktemp("llava"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A random CLIP with the LLaVA's words, 16 tokens at most."""
    return tiny_clip(tmp_path_factory.mktemp("clip"), WORDS)


@pytest.fixture
def make_fit(llava, tmp_path):
    def make(rows: list[dict], seed: int = 0, store: str = "store", truth=None) -> Fit:
        dataset = EmbeddedDataset("test", {"train": lambda: rows}, truth)
        return Fit(
            config=Aspo.Config(),
            model=VisionLanguage.load(llava),
            dataset=dataset,
            rows=rows,
            seed=seed,
            folder=tmp_path / f"fit-{store}-{seed}",
            store=Store(tmp_path / store),
            inputs={},
            resolve=str,
        )

    return make


def train(method: type[Aspo], fit: Fit, **sections) -> Fit:
    method(method.Config.model_validate(sections)).fit(fit)
    return fit


def test_given_pairs_are_used_as_they_are_and_identical_ones_dropped(make_fit):
    rows = paired_rows()
    rows[3] = {**rows[3], "rejected": rows[3]["chosen"]}
    pairs = preference_pairs(make_fit(rows), PairSettings())
    assert sorted(pair.row for pair in pairs) == [0, 1, 2, *range(4, 12)]
    for pair in pairs:
        row = rows[pair.row]
        assert (pair.chosen, pair.rejected) == (row["chosen"], row["rejected"])


def test_missing_answers_are_the_models_own_on_the_clean_and_the_noised_picture(make_fit):
    rows = question_rows()
    fit = make_fit(rows, seed=5)
    settings = PairSettings(noise_step=900, max_new_tokens=12)
    pairs = preference_pairs(fit, settings)
    assert 5 < len(pairs) <= 40
    for pair in pairs[:5]:
        prompt = [VisionPrompt(rows[pair.row]["image"], rows[pair.row]["question"])]
        clean = fit.model.generate(prompt, max_new_tokens=12)
        noised = fit.model.generate(prompt, max_new_tokens=12, transform=diffusion_noise(900, 5))
        assert [pair.chosen, pair.rejected] == [*clean, *noised]


def test_a_seed_has_one_set_of_pairs_and_another_seed_another(make_fit):
    settings = PairSettings(noise_step=900, max_new_tokens=8, chosen_temperature=1.0, limit=20)
    first, again, other = (
        [
            pair.content
            for pair in preference_pairs(make_fit(question_rows(), seed, store), settings)
        ]
        for seed, store in ((0, "a"), (0, "b"), (1, "a"))
    )
    assert first == again
    assert {row for row, *_ in first} != {row for row, *_ in other}
    assert len(first) == len({row for row, *_ in first}) == 20


def test_every_method_of_a_seed_trains_on_the_same_pairs(make_fit):
    seen = {}
    for method in (Aspo, Dpo, AspoRandom):
        fit = make_fit(question_rows(), store=method.__name__)
        fit.train = lambda rows, *_, name=method: seen.setdefault(name, rows)
        loss = {"alpha": 0.0} if method is Aspo else {}
        train(method, fit, loss=loss, pairs={"max_new_tokens": 8, "limit": 10, "noise_step": 900})
    told = [[example.pair.content for example in rows] for rows in seen.values()]
    assert told[0] == told[1] == told[2]
    assert len(told[0]) == 10
    references = [[example.reference_chosen for example in rows] for rows in seen.values()]
    assert references[0] == references[1]


def test_pairs_of_unequal_length_can_be_dropped(make_fit):
    rows = paired_rows()
    rows[2] = {**rows[2], "rejected": "there is one star."}
    kept = preference_pairs(make_fit(rows), PairSettings(equal_sentences=True))
    assert 2 not in {pair.row for pair in kept}
    assert len(kept) == 11


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": None}, "train row 3: no 'image'"),
        ({"question": None}, "train row 3: no 'question'"),
        ({"question": 7}, "train row 3: 'question' is 7"),
        ({"chosen": " "}, "train row 3: 'chosen' is empty"),
        ({"rejected": ["a"]}, "train row 3: 'rejected' is "),
    ],
)
def test_a_bad_row_is_named(make_fit, change, message):
    rows = paired_rows(5)
    rows[2] = {**rows[2], **change}
    with pytest.raises(DataError, match=message):
        preference_pairs(make_fit(rows), PairSettings())


def test_pairs_that_are_all_dropped_are_an_error(make_fit):
    rows = [{**row, "rejected": row["chosen"]} for row in paired_rows(3)]
    with pytest.raises(DataError, match="no pair"):
        preference_pairs(make_fit(rows), PairSettings())


def test_a_batch_sorts_every_answer_token_into_one_sentence(make_fit):
    fit = make_fit(paired_rows())
    pairs = preference_pairs(fit, PairSettings())
    batch = Batches(fit.model, None, fit.dataset)(pairs)
    half = len(pairs)
    assert torch.equal(batch["sentence_id"] >= 0, batch["answer_mask"][:half])
    values = torch.rand(batch["sentence_id"].shape) * batch["answer_mask"][:half]
    sums = sentence_sums(values, batch["sentence_id"], batch["present"].shape[1])
    torch.testing.assert_close(sums.sum(1), values.sum(1))
    assert batch["present"].tolist() == [[True, True]] * half
    tokenizer = fit.model.tokenizer
    for row, pair in enumerate(pairs):
        ids, of = batch["input_ids"][row], batch["sentence_id"][row]
        first = tokenizer.decode(ids[of == 0]).replace(" ", "")
        second = tokenizer.decode(ids[of == 1]).replace(" ", "")
        assert first + "|" + second == pair.chosen.replace(". it", ".|it").replace(" ", "") + "</s>"
        rejected = tokenizer.decode(
            batch["input_ids"][half + row][batch["answer_mask"][half + row]]
        )
        assert rejected.replace(" ", "") == pair.rejected.replace(" ", "") + "</s>"


def test_a_question_longer_than_the_limit_is_named(make_fit):
    fit = make_fit(paired_rows())
    pairs = preference_pairs(fit, PairSettings())
    with pytest.raises(DataError, match=r"train row .*max_length"):
        Batches(fit.model, 6, fit.dataset)(pairs[:1])


def test_sentences_that_an_answer_has_not_are_not_present(make_fit):
    fit = make_fit(paired_rows())
    pairs = [
        Pair(i, picture(i), "describe", answer, "no.")
        for i, answer in enumerate(["it is red. it is a star. it is left.", "a star."])
    ]
    batch = Batches(fit.model, None, fit.dataset)(pairs)
    assert batch["present"].tolist() == [[True] * 3, [True, False, False]]


def test_answers_are_cut_at_the_longest_length(make_fit):
    fit = make_fit(paired_rows())
    pair = Pair(0, picture(0), "describe", "it is red. it is a star. it is left.", "no.")
    whole = Batches(fit.model, None, fit.dataset)([pair])
    cut = Batches(fit.model, whole["input_ids"].shape[1] - 10, fit.dataset)([pair])
    assert whole["present"].shape == (1, 3)
    assert cut["present"].tolist() == [[True]]
    assert cut["answer_mask"][0].sum() == whole["answer_mask"][0].sum() - 10


@pytest.mark.parametrize("lora", [None, Lora(r=2, alpha=2)], ids=["all", "lora"])
def test_from_half_precision_references_are_the_policys_before_the_first_step(make_fit, lora):
    fit = make_fit(paired_rows())
    fit.model.module.bfloat16()
    pairs = preference_pairs(fit, PairSettings())[:4]
    batches = Batches(fit.model, None, fit.dataset)
    settings = TrainSettings(precision="bf16", micro_batch=4, lora=lora)
    references = reference_log_probs(fit, pairs, batches, settings)
    prepare(fit.model, settings)
    batch = batches(pairs)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = answer_log_probs(fit.model.module, model_inputs(batch), batch["answer_mask"])
    assert [each["rejected"] for each in references] == found[4:].sum(-1).tolist()


def test_references_are_the_untrained_models_log_probabilities(make_fit):
    fit = make_fit(paired_rows())
    pairs = preference_pairs(fit, PairSettings())
    references = reference_log_probs(
        fit, pairs, Batches(fit.model, None, fit.dataset), TrainSettings(micro_batch=5)
    )
    for pair, reference in zip(pairs, references, strict=True):
        for answer, known in ((pair.chosen, "chosen"), (pair.rejected, "rejected")):
            one = fit.model.encode(pair.prompt, answer)
            with torch.no_grad():
                logits = fit.model.module(
                    input_ids=one.input_ids[None], **fit.model.picture_batch([pair.image])
                ).logits[0, :-1]
            token = logits.log_softmax(-1).gather(1, one.input_ids[1:, None]).squeeze(1)
            token = token[one.prompt_length - 1 :]
            expected = token if known == "chosen" else token.sum()
            torch.testing.assert_close(torch.tensor(reference[known]), expected)


def test_similarity_is_the_cosine_of_clips_embeddings(make_fit, clip):
    from transformers import AutoProcessor, CLIPModel

    fit = make_fit(paired_rows(5))
    settings = Aspo.Config.model_validate({"loss": {"encoder": str(clip)}}).loss
    pairs = preference_pairs(fit, PairSettings())
    pairs[0] = Pair(pairs[0].row, pairs[0].image, "q", "it is red. " + "star " * 40 + ".", "no")
    scores = sentence_scores(fit, pairs, settings)
    model, processor = CLIPModel.from_pretrained(clip).eval(), AutoProcessor.from_pretrained(clip)
    for pair, found in zip(pairs, scores, strict=True):
        assert len(found) == 2
        for sentence, score in zip(pair.sentences, found, strict=True):
            inputs = processor(
                text=sentence,
                images=pair.image,
                return_tensors="pt",
                truncation=True,
                max_length=16,
            )
            inputs.pop("token_type_ids", None)
            with torch.no_grad():
                out = model(**inputs)
            expected = out.logits_per_image.item() / model.logit_scale.exp().item()
            assert score == pytest.approx(expected, abs=1e-5)


def test_aspo_without_an_encoder_says_what_to_set(make_fit):
    with pytest.raises(HarnessError, match=r"loss\.encoder"):
        train(Aspo, make_fit(paired_rows()), train=TRAIN)


def test_controls_take_the_truth_or_seeded_chance_as_weights(make_fit):
    def truth(row, sentences):
        return [float("circle" in sentence) for sentence in sentences]

    fit = make_fit(paired_rows(), truth=truth)
    pairs = preference_pairs(fit, PairSettings())
    oracle = sentence_scores(fit, pairs, AspoOracle.Config().loss)
    assert oracle == [[1.0, 0.0]] * 12
    chance = sentence_scores(fit, pairs, AspoRandom.Config().loss)
    assert chance == sentence_scores(fit, pairs, AspoRandom.Config().loss)
    assert len({score for row in chance for score in row}) == 24
    assert all(0 <= score <= 1 for row in chance for score in row)
    with pytest.raises(DataError, match="does not know"):
        sentence_scores(make_fit(paired_rows()), pairs, AspoOracle.Config().loss)


def sentence_log_probs(fit: Fit, answer: str) -> torch.Tensor:
    """Log-probability of each row's two sentences of an answer, in the mean, [2]."""
    total = torch.zeros(2)
    for row in fit.rows:
        one = fit.model.encode(VisionPrompt(row["image"], row["question"]), row[answer])
        with torch.no_grad():
            logits = fit.model.module(
                input_ids=one.input_ids[None], **fit.model.picture_batch([row["image"]])
            ).logits[0, :-1]
        token = logits.log_softmax(-1).gather(1, one.input_ids[1:, None]).squeeze(1)
        second = row[answer].index(". ") + 2
        for log_prob, (start, _) in zip(token[one.prompt_length - 1 :], one.spans, strict=True):
            total[int(start >= second)] += log_prob
    return total / len(fit.rows)


@pytest.mark.parametrize("lora", [None, {"r": 8, "alpha": 64}])
def test_training_lowers_the_loss_and_unlearns_a_planted_sentence(make_fit, clip, lora):
    fit = make_fit(paired_rows(), store=f"lora-{lora is not None}")
    before = sentence_log_probs(fit, "rejected")
    train(Aspo, fit, loss={"encoder": str(clip)}, train={**TRAIN, "lora": lora})
    first, last = fit.curves[0], fit.curves[-1]
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-4)
    assert first["margin"] == pytest.approx(0, abs=1e-4)
    assert last["loss"] < first["loss"] - 0.05
    assert last["accuracy"] == 1
    assert 0 < first["weight"] < 1
    fall = before - sentence_log_probs(fit, "rejected")
    assert fall[1] > 0.5
    assert fall[1] > fall[0] + 0.5


def test_aspo_on_one_sentence_answers_trains_the_weights_of_dpo_to_the_bit(make_fit, clip):
    rows = [{**row, "chosen": row["chosen"].split(". ")[0] + "."} for row in paired_rows()]
    trained = []
    for method, loss in ((Aspo, {"encoder": str(clip)}), (Dpo, {})):
        fit = train(method, make_fit(rows, store=method.__name__), loss=loss, train=TRAIN)
        trained.append(fit.model.module.state_dict())
    assert all(torch.equal(trained[0][name], trained[1][name]) for name in trained[0])
    start = make_fit(rows).model.module.state_dict()
    assert not all(torch.equal(trained[0][name], start[name]) for name in start)


def test_a_sentence_of_high_weight_gains_more_than_under_dpo(make_fit):
    def truth(row, sentences):
        return [float("circle" in sentence) for sentence in sentences]

    shares = []
    for method in (AspoOracle, Dpo):
        fit = make_fit(paired_rows(), store=method.__name__, truth=truth)
        before = sentence_log_probs(fit, "chosen")
        train(method, fit, train=TRAIN)
        gain = sentence_log_probs(fit, "chosen") - before
        shares.append((gain[0] - gain[1]).item())
    assert shares[0] > shares[1] + 0.05


def test_an_encoder_whose_weights_do_not_fit_is_refused(tmp_path):
    folder = tiny_clip(tmp_path / "clip", WORDS)
    weights = load_file(folder / "model.safetensors")
    renamed = {f"module.{name}": weight for name, weight in weights.items()}
    save_file(renamed, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(HarnessError, match=r"not the weights of CLIPModel: .*with 'module\.'"):
        similarity_encoder(str(folder), 16, torch.device("cpu"))
