"""Runs in the environment of the engine `comet`: makes a COMET model of random weights, a
checkpoint as Lightning writes it, and scores rows by unbabel-comet with nothing of ours between.

The setting `folder` is where the model goes. Each row is answered by `predict`, its score from the
checkpoint by `CometModel.predict` in batches of four, and `forward`, its score by the network alone
from the model as it was before it was saved, one row at a time.
"""

import json
import os
import sys
from pathlib import Path

folder = Path(json.loads(sys.argv[1])["folder"])
rows = [json.loads(line) for line in sys.stdin]
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)

import pytorch_lightning  # noqa: E402
import torch  # noqa: E402
import yaml  # noqa: E402
from comet.models import RegressionMetric, load_from_checkpoint  # noqa: E402
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers  # noqa: E402
from transformers import XLMRobertaConfig, XLMRobertaTokenizerFast  # noqa: E402

SPECIALS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def encoder(place: Path) -> None:
    """An XLM-RoBERTa's configuration and a tokenizer of the rows' words."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=200, special_tokens=SPECIALS, unk_token="<unk>")
    tokenizer.train_from_iterator([text for row in rows for text in row.values()], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    XLMRobertaTokenizerFast(tokenizer_object=tokenizer).save_pretrained(place)
    XLMRobertaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=66,
        type_vocab_size=1,
        initializer_range=0.5,
    ).save_pretrained(place)


torch.manual_seed(0)
encoder(folder / "encoder")
model = RegressionMetric(
    pretrained_model=str(folder / "encoder"),
    load_pretrained_weights=False,
    local_files_only=True,
    hidden_sizes=[32, 16],
)
trainer = pytorch_lightning.Trainer(logger=False, accelerator="cpu", enable_progress_bar=False)
trainer.strategy.connect(model)
trainer.save_checkpoint(folder / "checkpoints" / "model.ckpt")
(folder / "hparams.yaml").write_text(yaml.dump(dict(model.hparams)))

model.eval()
with torch.no_grad():
    alone = [model(**model.prepare_sample([row], stage="predict")).score.item() for row in rows]
saved = load_from_checkpoint(folder / "checkpoints" / "model.ckpt", local_files_only=True)
predicted = saved.predict(rows, batch_size=4, gpus=0, progress_bar=False).scores
for one, other in zip(predicted, alone, strict=True):
    answers.write(json.dumps({"predict": one, "forward": other}) + "\n")
answers.close()
