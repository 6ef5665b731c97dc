"""A small Marian with random weights and a tokenizer of its own, to be trained from scratch.

`python -m methods.ctsd.scratch DATASET --source en --target de --out FOLDER` writes a Hugging Face
folder; `harness run --method ce --model FOLDER --dataset DATASET ...` trains it.
"""

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated

import torch
import typer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import MarianConfig, MarianMTModel, PreTrainedTokenizerBase
from transformers import PreTrainedTokenizerFast as FastTokenizer
from transformers.utils.logging import disable_progress_bar

from harness.dataset import Dataset
from harness.errors import HarnessError
from harness.opening import open_data
from harness.parallel import parallel_text
from harness.shown import echo

SPECIAL = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
HEAD_WIDTH = 32
POSITIONS = 128
"""Tokens of a text at most; a translation that loops is cut there."""


def training_texts(dataset: Dataset, source: str, target: str) -> list[str]:
    """Every training row's text in both languages; raises `DataError` with the place of a bad one.

    Other splits are not read.
    """
    rows = dataset.rows()
    return [
        text
        for index, row in enumerate(rows)
        for text in parallel_text(row, source, target, dataset.place(None, index))
    ]


def joint_tokenizer(texts: Iterable[str], vocabulary: int) -> FastTokenizer:
    """A byte-pair tokenizer of both languages that closes a text with </s>.

    A blank is part of the token after it, so that Chinese, which has none, is cut as well as
    German, and a decoded text is the text.

    Args:
        texts: to learn the tokens from.
        vocabulary: tokens at most, special ones included.

    Raises:
        HarnessError: where the texts have more different characters than that.
    """
    texts = list(texts)
    characters = len({character for text in texts for character in text})
    needed = characters + len(SPECIAL) + 1
    if vocabulary < needed:
        raise HarnessError(
            f"a vocabulary of {vocabulary} is too small: the texts have {characters} different "
            f"characters; give --vocabulary {needed} or more."
        )
    core = Tokenizer(models.BPE(unk_token=SPECIAL["unk_token"]))
    core.pre_tokenizer = pre_tokenizers.Metaspace()
    core.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=list(SPECIAL.values()), show_progress=False
    )
    core.train_from_iterator(texts, trainer)
    end = SPECIAL["eos_token"]
    core.post_processor = processors.TemplateProcessing(
        single=f"$A {end}", special_tokens=[(end, core.token_to_id(end))]
    )
    return FastTokenizer(
        tokenizer_object=core,
        **SPECIAL,
        clean_up_tokenization_spaces=False,
        model_max_length=POSITIONS,
        padding_side="right",
    )


def random_marian(
    tokenizer: PreTrainedTokenizerBase, width: int, layers: int, seed: int
) -> MarianMTModel:
    """A Marian with weights of a seed.

    Args:
        tokenizer: of both languages; the embeddings of encoder, decoder and output are one.
        width: of the hidden states, a multiple of 32 (one attention head each).
        layers: of the encoder, and as many of the decoder.
        seed: of the weights.

    Raises:
        HarnessError: for another width.
    """
    if width % HEAD_WIDTH:
        raise HarnessError(f"a width of {width} is no multiple of {HEAD_WIDTH}.")
    heads, inner = width // HEAD_WIDTH, 2 * width
    # Marian's own ids are those of a vocabulary of 58,101 tokens, also the one it never says.
    config = MarianConfig(
        vocab_size=len(tokenizer),
        decoder_vocab_size=len(tokenizer),
        d_model=width,
        encoder_layers=layers,
        decoder_layers=layers,
        encoder_attention_heads=heads,
        decoder_attention_heads=heads,
        encoder_ffn_dim=inner,
        decoder_ffn_dim=inner,
        max_position_embeddings=POSITIONS,
        init_std=width**-0.5,
        scale_embedding=True,
        dropout=0.0,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.bos_token_id,
        forced_eos_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = MarianMTModel(config)
    model.generation_config.update(
        max_new_tokens=POSITIONS, num_beams=1, do_sample=False, bad_words_ids=None
    )
    return model


def write_scratch(
    dataset: str,
    source: str,
    target: str,
    out: Path,
    *,
    vocabulary: int = 4000,
    width: int = 192,
    layers: int = 3,
    seed: int = 0,
) -> MarianMTModel:
    """Write the folder of a model to be trained on a dataset; the model."""
    if out.exists():
        raise HarnessError(f"{out}: is there already: remove it, or choose another --out.")
    texts = training_texts(open_data(dataset), source, target)
    tokenizer = joint_tokenizer(texts, vocabulary)
    model = random_marian(tokenizer, width, layers, seed)
    disable_progress_bar()
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    return model


app = typer.Typer(add_completion=False)


@app.command(help=__doc__)
def scratch(
    dataset: Annotated[str, typer.Argument(help="What it will be trained on: FILE:branches")],
    source: Annotated[str, typer.Option(help="Language to translate from.")],
    target: Annotated[str, typer.Option(help="Language to translate into.")],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    vocabulary: Annotated[int, typer.Option(help="Tokens of both languages at most.")] = 4000,
    width: Annotated[int, typer.Option(help="Of the hidden states.")] = 192,
    layers: Annotated[int, typer.Option(help="Of the encoder, and of the decoder.")] = 3,
    seed: Annotated[int, typer.Option(help="Of the weights.")] = 0,
) -> None:
    shape = {"vocabulary": vocabulary, "width": width, "layers": layers, "seed": seed}
    model = write_scratch(dataset, source, target, out, **shape)
    echo(f"{out}: {model.num_parameters():,} random weights")


def run_app(app: Callable[[], None]) -> None:
    """Run a command line: errors of the user are one line and exit status 2."""
    try:
        app()
    except HarnessError as error:
        echo(f"harness: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    run_app(app)
