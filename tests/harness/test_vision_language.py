"""The vision-language role on a LLaVA of a few thousand random weights."""

import pytest
import torch
from PIL import Image
from tiny_llava import tiny_llava

from harness.errors import DataError
from harness.models.pictures import open_picture
from harness.models.vision_language import VisionLanguage, VisionPrompt

QUESTIONS = ["is there a red star ?", "describe the picture", "what shape is it ? answer with one"]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> VisionLanguage:
    """With logits of some size, so that answers differ between questions and pictures."""
    model = VisionLanguage.load(tiny_llava(tmp_path_factory.mktemp("llava")))
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.module.parameters():
            if parameter.ndim == 2:
                parameter.normal_(0, 0.2, generator=generator)
    return model


@pytest.fixture
def fresh(model) -> VisionLanguage:
    return VisionLanguage(model.module, model.processor, model.batch_size)


def picture(index: int) -> Image.Image:
    noise = torch.randint(256, (40, 48, 3), generator=torch.Generator().manual_seed(index))
    return Image.fromarray(noise.to(torch.uint8).numpy())


def prompts(count: int = 10) -> list[VisionPrompt]:
    """Of several lengths, each picture with two of them."""
    return [VisionPrompt(picture(i // 2), QUESTIONS[i % 3]) for i in range(count)]


def bare_loop(model: VisionLanguage, asked: list[VisionPrompt], batch: int, new: int) -> list[str]:
    """What a user writes by hand with transformers: the processor on batches, then `generate`."""
    processor, said = model.processor, []
    processor.tokenizer.padding_side = "left"
    for start in range(0, len(asked), batch):
        some = asked[start : start + batch]
        inputs = processor(
            text=[model.prompt_text(prompt.text) for prompt in some],
            images=[open_picture(prompt.image) for prompt in some],
            padding=True,
            return_tensors="pt",
        )
        with torch.no_grad():
            out = model.module.generate(**inputs, max_new_tokens=new, do_sample=False)
        texts = processor.batch_decode(
            out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True
        )
        said += [text.strip() for text in texts]
    return said


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_answers_in_padded_batches_equal_a_bare_loop_one_by_one(model, batch_size):
    ours = VisionLanguage(model.module, model.processor, batch_size)
    asked = prompts()
    answers = ours.generate(asked, max_new_tokens=8)
    assert len(set(answers)) > 3
    assert answers == bare_loop(model, asked, 1, 8)
    assert answers == bare_loop(model, asked, len(asked), 8)


def test_no_prompt_no_answer(model):
    assert model.generate([]) == []


def test_sampling_follows_its_seed_and_leaves_the_global_generator_alone(model):
    def sampled(seed: int) -> list[str]:
        return model.generate(prompts(), max_new_tokens=8, temperature=1.0, seed=seed)

    torch.manual_seed(11)
    first = sampled(0)
    drawn = torch.rand(3)
    torch.manual_seed(11)
    assert torch.equal(torch.rand(3), drawn)
    assert sampled(0) == first
    assert sampled(1) != first
    assert model.generate(prompts(), max_new_tokens=8) != first


def test_the_transform_sees_each_picture_alone_and_changes_what_the_model_sees(model):
    shapes = []

    def black(pixels: torch.Tensor) -> torch.Tensor:
        shapes.append(tuple(pixels.shape))
        return torch.zeros_like(pixels)

    asked = [VisionPrompt(picture(i), QUESTIONS[1]) for i in range(4)]
    clean = model.generate(asked, max_new_tokens=8)
    blind = model.generate(asked, max_new_tokens=8, transform=black)
    assert shapes == [(1, 3, 32, 32)] * 4
    assert len(set(clean)) > 1 and len(set(blind)) == 1
    assert model.generate(asked, max_new_tokens=8) == clean


def test_pictures_preprocessed_together_equal_each_alone(fresh):
    pictures = [picture(i) for i in (0, 1, 0, 2)]
    together = fresh.picture_batch(pictures)["pixel_values"]
    alone = [
        fresh.processor(text="<image>", images=one, return_tensors="pt")["pixel_values"]
        for one in pictures
    ]
    assert torch.equal(together, torch.cat(alone))


def test_a_picture_is_preprocessed_once_whatever_asks_for_it(fresh, monkeypatch):
    seen = []
    preprocess = fresh._preprocessed
    monkeypatch.setattr(fresh, "_preprocessed", lambda i: (seen.extend(i), preprocess(i))[1])
    fresh.generate(prompts(6), max_new_tokens=2)
    fresh.encode(prompts()[0], "a star")
    assert len(seen) == 3


def test_a_full_cache_forgets_the_pictures_that_were_asked_for_longest_ago(fresh, monkeypatch):
    size = 3 * 32 * 32 * 4
    monkeypatch.setattr("harness.models.vision_language.PIXEL_CACHE_BYTES", 2 * size)
    pictures = [picture(i) for i in range(3)]
    batch = fresh.picture_batch(pictures)["pixel_values"]
    assert len(fresh._pixels) == 2 and fresh._pixel_bytes == 2 * size
    assert torch.equal(fresh.pixels(pictures[0])[0]["pixel_values"], batch[:1])
    assert len(fresh._pixels) == 2 and fresh._pixel_bytes == 2 * size


def test_a_picture_that_takes_several_rows_of_pixels_is_preprocessed_alone(fresh, monkeypatch):
    """As with models that cut pictures into tiles: more tensors than `pixel_values` say so."""
    image_processor = fresh.processor.image_processor
    names = ["pixel_values", "image_sizes"]
    monkeypatch.setattr(type(image_processor), "model_input_names", names)
    calls = []
    processor = fresh.processor

    class Watched:
        def __call__(self, *, text, images, **keywords):
            calls.append(len(images))
            return processor(text=text, images=images, **keywords)

        def __getattr__(self, name):
            return getattr(processor, name)

    fresh.processor = Watched()
    fresh.picture_batch([picture(i) for i in range(3)])
    assert calls == [1, 1, 1]


@pytest.mark.parametrize("text", QUESTIONS)
def test_prompt_ids_equal_the_processors(model, text):
    prompt = VisionPrompt(picture(0), text)
    expected = model.processor(
        text=model.prompt_text(text), images=picture(0), return_tensors="pt"
    )["input_ids"][0]
    assert model.prompt_ids(prompt) == expected.tolist()


def test_a_model_without_chat_template_gets_llavas_own_words(fresh, monkeypatch):
    monkeypatch.setattr(fresh.processor, "chat_template", None)
    assert fresh.prompt_text("what is it ?") == "USER: <image>\nwhat is it ? ASSISTANT:"
    asked = prompts(4)
    assert fresh.generate(asked, max_new_tokens=4) == bare_loop(fresh, asked, 1, 4)


def test_an_image_token_in_a_question_is_a_data_error(model):
    with pytest.raises(DataError, match="stands for the picture"):
        model.generate([VisionPrompt(picture(0), "is this <image> red ?")], max_new_tokens=1)


def test_a_missing_or_damaged_picture_is_a_data_error_that_names_it(model, tmp_path):
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(b"no picture")
    for path, message in ((tmp_path / "gone.png", "gone"), (damaged, "damaged")):
        with pytest.raises(DataError, match=message):
            model.generate([VisionPrompt(str(path), QUESTIONS[0])])


ANSWER = "a red  star. it is at the top left !"


def test_encode_gives_prompt_answer_and_end_with_the_place_of_each_token(model):
    prompt = prompts()[0]
    encoded = model.encode(prompt, ANSWER)
    ids = encoded.input_ids.tolist()
    assert ids[: encoded.prompt_length] == model.prompt_ids(prompt)
    assert ids[-1] == model.tokenizer.eos_token_id
    words = [ANSWER[start:end] for start, end in encoded.spans]
    tokens = ["a", "red", "star", ".", "it", "is", "at", "the", "top", "left", "!"]
    assert words == [*tokens, ""]
    answered = ids[encoded.prompt_length : -1]
    assert model.tokenizer.convert_ids_to_tokens(answered) == tokens
    assert encoded.spans[-1] == (len(ANSWER), len(ANSWER))


@pytest.mark.parametrize("kept", [-3, 0, 1, 5, 11, 12, 50])
def test_encode_cuts_ids_and_spans_at_the_same_token(model, kept):
    """`kept`: how many tokens of the answer fit, below zero where not even the prompt does."""
    whole = model.encode(prompts()[0], ANSWER)
    cut = model.encode(prompts()[0], ANSWER, whole.prompt_length + kept)
    assert cut.prompt_length == whole.prompt_length
    assert torch.equal(cut.input_ids, whole.input_ids[: whole.prompt_length + kept])
    assert cut.spans == whole.spans[: max(kept, 0)]


def test_an_answer_ends_at_the_models_last_position(fresh, monkeypatch):
    asked = prompts(3)
    longest = max(len(fresh.prompt_ids(prompt)) for prompt in asked)
    config = fresh.module.config.get_text_config()
    monkeypatch.setattr(config, "max_position_embeddings", longest + 2)
    lengths, generate = [], fresh.module.generate

    def seen(**inputs):
        out = generate(**inputs)
        lengths.append(out.shape[1])
        return out

    monkeypatch.setattr(fresh.module, "generate", seen)
    together = fresh.generate(asked, max_new_tokens=50)
    assert max(lengths) <= longest + 2
    assert together == [fresh.generate([one], max_new_tokens=50)[0] for one in asked]
    encoded = fresh.encode(asked[0], "a red star " * 50)
    assert len(encoded.input_ids) == longest + 2
    assert len(encoded.spans) == longest + 2 - encoded.prompt_length
    monkeypatch.setattr(config, "max_position_embeddings", longest)
    with pytest.raises(DataError, match=rf"'.*': the question has {longest} tokens .*{longest}"):
        fresh.generate(asked, max_new_tokens=5)
