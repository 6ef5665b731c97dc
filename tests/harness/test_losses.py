import pytest
import torch
from tiny_llava import tiny_llava
from torch import Tensor, nn
from transformers import AutoModelForImageTextToText

from harness.errors import HarnessError
from harness.losses import answer_log_probs, dpo_margin, preference_loss, token_log_probs


def plain_log_probs(
    hidden: Tensor, weight: Tensor, labels: Tensor, bias: Tensor | None = None
) -> Tensor:
    logits = nn.functional.linear(hidden, weight, bias)
    return torch.log_softmax(logits, -1).gather(-1, labels[..., None]).squeeze(-1)


@pytest.fixture
def projection() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(3, 7, 8, generator=generator)
    weight, bias = torch.randn(50, 8, generator=generator), torch.randn(50, generator=generator)
    return hidden, weight, bias, torch.randint(50, (3, 7), generator=generator)


@pytest.mark.parametrize("chunk", [1, 4, 21, 100])
@pytest.mark.parametrize("with_bias", [False, True])
def test_chunked_log_probs_equal_a_plain_log_softmax(projection, chunk, with_bias):
    results = []
    for function in (token_log_probs, plain_log_probs):
        hidden, weight, bias = (tensor.clone().requires_grad_() for tensor in projection[:3])
        if function is token_log_probs:
            log_probs = token_log_probs(
                hidden, weight, projection[3], head_bias=bias if with_bias else None, chunk=chunk
            )
        else:
            log_probs = plain_log_probs(hidden, weight, projection[3], bias if with_bias else None)
        (log_probs * torch.linspace(-1, 2, 21).view(3, 7)).sum().backward()
        results.append([log_probs, hidden.grad, weight.grad, *([bias.grad] if with_bias else [])])
    for ours, plain in zip(*results, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-6, atol=1e-6)


def test_chunked_gradients_agree_with_finite_differences(projection):
    hidden, weight, bias = (tensor.double().requires_grad_() for tensor in projection[:3])

    def function(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return token_log_probs(hidden, weight, projection[3], head_bias=bias, chunk=4)

    assert torch.autograd.gradcheck(function, (hidden, weight, bias))


def test_a_frozen_head_gets_no_gradient_and_its_hidden_states_the_same_one(projection):
    hidden, weight, _, labels = projection
    grads = []
    for trains in (True, False):
        states = hidden.clone().requires_grad_()
        head = weight.clone().requires_grad_(trains)
        token_log_probs(states, head, labels, chunk=4).sum().backward()
        grads.append(states.grad)
        assert (head.grad is not None) is trains
    assert torch.equal(*grads)


def test_a_tied_head_collects_the_gradient_of_both_its_uses(projection):
    _, weight, _, labels = projection
    grads = []
    for function in (token_log_probs, plain_log_probs):
        tied = weight.clone().requires_grad_()
        function(torch.tanh(tied[labels]), tied, labels.flip(0)).sum().backward()
        grads.append(tied.grad)
    torch.testing.assert_close(*grads, rtol=1e-5, atol=1e-6)


def test_half_precision_log_probs_are_summed_in_fp32(projection):
    hidden, weight, _, labels = projection
    half = token_log_probs(hidden.bfloat16(), weight.bfloat16(), labels)
    exact = plain_log_probs(hidden.bfloat16().double(), weight.bfloat16().double(), labels)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half.double(), exact, rtol=0, atol=0.05)


def test_autocast_projects_in_its_own_precision(projection):
    hidden, weight, _, labels = projection
    with torch.autocast("cpu", torch.bfloat16):
        under = token_log_probs(hidden, weight, labels)
    assert torch.equal(under, token_log_probs(hidden.bfloat16(), weight.bfloat16(), labels))


def test_no_tensor_of_the_projection_holds_more_than_one_chunk():
    positions, vocabulary, chunk = 64, 1000, 8
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            nonlocal largest
            out = function(*args, **(kwargs or {}))
            if isinstance(out, Tensor):
                largest = max(largest, out.numel())
            return out

    hidden = torch.randn(positions, 4, requires_grad=True)
    weight = torch.randn(vocabulary, 4, requires_grad=True)
    with Watch():
        token_log_probs(
            hidden, weight, torch.zeros(positions, dtype=torch.long), chunk=chunk
        ).sum().backward()
    assert largest == chunk * vocabulary


@pytest.fixture(scope="module")
def llava(tmp_path_factory):
    return tiny_llava(tmp_path_factory.mktemp("llava"))


def llava_batch() -> tuple[dict[str, Tensor], Tensor]:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(5, 60, (3, 16), generator=generator)
    ids[:, 1:5] = 4
    mask = torch.ones_like(ids)
    mask[1, 12:] = 0
    answer = torch.zeros_like(mask, dtype=torch.bool)
    answer[0, 8:], answer[1, 10:12] = True, True
    pixels = torch.randn(3, 3, 32, 32, generator=generator)
    return {"input_ids": ids, "attention_mask": mask, "pixel_values": pixels}, answer


def full_projection(module: nn.Module, inputs: dict[str, Tensor], answer: Tensor) -> Tensor:
    logits = module(**inputs).logits[:, :-1].float()
    log_probs = logits.log_softmax(-1).gather(-1, inputs["input_ids"][:, 1:, None]).squeeze(-1)
    return nn.functional.pad(log_probs, (1, 0)) * answer


@pytest.mark.parametrize("adapted", [False, True])
def test_answer_log_probs_equal_those_of_the_full_projection(llava, adapted):
    module = AutoModelForImageTextToText.from_pretrained(llava)
    if adapted:
        from peft import LoraConfig, get_peft_model

        module = get_peft_model(module, LoraConfig(r=4, target_modules="all-linear"))
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                if "lora_B" in name:
                    parameter.normal_(0, 0.1, generator=torch.Generator().manual_seed(2))
    inputs, answer = llava_batch()
    results = []
    for function in (answer_log_probs, full_projection):
        module.zero_grad()
        log_probs = function(module, inputs, answer)
        log_probs.sum().backward()
        grads = {n: p.grad.clone() for n, p in module.named_parameters() if p.grad is not None}
        results.append((log_probs.detach(), grads))
    (ours, our_grads), (plain, plain_grads) = results
    assert ours.ne(0).equal(answer)
    torch.testing.assert_close(ours, plain, rtol=1e-5, atol=1e-5)
    assert our_grads.keys() == plain_grads.keys()
    for name, grad in our_grads.items():
        torch.testing.assert_close(grad, plain_grads[name], rtol=1e-4, atol=1e-5)


def test_the_wrapping_module_itself_runs_and_the_head_is_put_back(llava):
    module = AutoModelForImageTextToText.from_pretrained(llava)
    inputs, answer = llava_batch()

    class Wrapper(nn.Module):
        """As DistributedDataParallel: all it has of the model is `module`."""

        calls = 0

        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self.module = module

        def forward(self, **inputs):
            self.calls += 1
            return self.module(**inputs)

    wrapper = Wrapper(module)
    expected = full_projection(module, inputs, answer)
    torch.testing.assert_close(answer_log_probs(wrapper, inputs, answer), expected)
    assert wrapper.calls == 1
    assert module(**inputs).logits.shape == (3, 16, module.config.text_config.vocab_size)
    with pytest.raises(ValueError, match="Image features"):
        answer_log_probs(module, {**inputs, "pixel_values": inputs["pixel_values"][:2]}, answer)
    assert "forward" not in module.lm_head.__dict__


def test_an_adapted_head_is_refused(llava):
    from peft import LoraConfig, get_peft_model

    module = AutoModelForImageTextToText.from_pretrained(llava)
    module = get_peft_model(module, LoraConfig(r=2, target_modules=["lm_head"]))
    with pytest.raises(HarnessError, match=r"lora\.targets"):
        answer_log_probs(module, *llava_batch())


def test_margin_and_loss_equal_a_case_by_hand():
    margin = dpo_margin(torch.tensor([2.0]), torch.tensor([-1.0]), 0.5)
    assert margin.item() == 1.5
    # -log(1 / (1 + exp(-1.5)))
    assert preference_loss(margin).item() == pytest.approx(0.2014132779827524, abs=1e-7)
