"""An example of a method in a package of its own."""

from harness.losses import answer_log_probs
from harness.method import Method, MethodConfig, Preset
from harness.models.prompts import VisionPrompt
from harness.settings import TrainSettings


class Settings(MethodConfig):
    limit: int = 256
    train: TrainSettings = TrainSettings(lr=1e-4, freeze=["vision_tower"])


class SelfTraining(Method):
    """Fine-tune a vision-language model on its own greedy answers."""

    role = "vision-language"
    Config = Settings
    presets = {"lab": Preset(model="lab/scenes-vlm", dataset="lab/scenes")}

    def fit(self, fit):
        model, rows = fit.model, fit.rows[: self.config.limit]
        prompts = [VisionPrompt(row["image"], row["question"]) for row in rows]

        def answer(some, first):
            return [{"text": text} for text in model.generate(some, max_new_tokens=64)]

        answers = fit.mapped("self-training", {"limit": self.config.limit}, prompts, answer)
        texts = [row["text"] for row in answers]
        examples = [(prompt, model.encode(prompt, text)) for prompt, text in zip(prompts, texts)]
        fit.train(examples, model.collate, likelihood_loss, self.config.train)


def likelihood_loss(module, batch):
    inputs = {name: value for name, value in batch.items() if name != "answer_mask"}
    log_probs = answer_log_probs(module, inputs, batch["answer_mask"])
    return -(log_probs.sum(1) / batch["answer_mask"].sum(1)).mean(), {}
