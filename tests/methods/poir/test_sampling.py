"""Rewrites sampled by a real HTTP server in place of the model in memory."""

import pytest
from chat_world import Endpoint, Reply, says

from harness.errors import HarnessError
from harness.models.causal_lm import CausalLM
from harness.models.loading import resolve
from harness.models.rewriting import Rewriting
from methods.poir.config import Collect
from methods.poir.sampling import sampler

REWRITING = Rewriting(template="rewrite : {prompt} =", max_new_tokens=32)


@pytest.fixture(scope="module")
def model():
    found = CausalLM.load(resolve("lab/errands"))
    found.tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    return found


def settings(server, **changed):
    return Collect(
        candidates=3, temperature=0.7, top_p=0.9, endpoint=server.url, endpoint_model="m", **changed
    )


def test_every_sample_is_a_request_with_a_seed_of_its_own(model, tmp_path):
    with Endpoint(lambda text, _: says(f"new {text}")) as server:
        sample = sampler(model, REWRITING, settings(server), tmp_path)
        said = sample(["a b", "c d"], 5)
    assert said == ["new rewrite : a b ="] * 3 + ["new rewrite : c d ="] * 3
    bodies = [each.body for each in server.asked]
    assert len({body["seed"] for body in bodies}) == 6
    assert {(b["temperature"], b["top_p"], b["max_tokens"], b["model"]) for b in bodies} == {
        (0.7, 0.9, 32, "m")
    }


def test_samples_that_came_are_not_asked_for_again(model, tmp_path):
    broken = Reply(b"{}", status=400)
    with Endpoint(lambda text, _: broken if "c d" in text else says("x")) as server:
        sample = sampler(model, REWRITING, settings(server), tmp_path)
        with pytest.raises(HarnessError, match=r"3 of 6 samples failed .* asks for these again"):
            sample(["a b", "c d"], 5)
        server.asked.clear()
        server.reply = lambda text, _: says("y")
        again = sampler(model, REWRITING, settings(server), tmp_path)(["a b", "c d"], 5)
    assert again == ["x"] * 3 + ["y"] * 3
    assert all("c d" in each.text for each in server.asked)


def test_another_seed_gives_other_samples(model, tmp_path):
    with Endpoint(lambda text, before: says(f"{before}")) as server:
        sample = sampler(model, REWRITING, settings(server), tmp_path)
        first, second = sample(["a"], 1), sample(["a"], 100)
    assert set(first).isdisjoint(second)


def test_a_model_without_a_chat_template_is_refused(tmp_path):
    plain = CausalLM.load(resolve("lab/errands"))
    with (
        Endpoint(lambda text, _: says("x")) as server,
        pytest.raises(HarnessError, match="tokenizer has none: sample in memory"),
    ):
        sampler(plain, REWRITING, settings(server), tmp_path)


def test_an_endpoint_without_the_models_name_is_refused(model, tmp_path):
    with pytest.raises(HarnessError, match=r"^collect\.endpoint_model: .*at least 1 char"):
        sampler(model, REWRITING, Collect(endpoint="http://localhost:1/v1"), tmp_path)
