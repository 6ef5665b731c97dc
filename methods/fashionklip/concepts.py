"""The images of every concept, found anew by the model that trains."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save, save_file
from torch import Tensor

from harness import processes
from harness.errors import DataError
from harness.files import append_line, write_atomic
from harness.seals import DamagedError, damage, is_sealed, seal
from harness.training import Fit
from methods.fashionklip.concept_images import concept_images, random_images
from methods.fashionklip.config import ConceptSettings
from methods.fashionklip.data import Catalogue

IMAGES = "images.safetensors"


class ConceptImages:
    """Pictures of the catalogue that show each concept, one set per epoch.

    A set is kept beside the fit's steps: a training that is killed within an epoch goes on with
    the images that the epoch began with. Pictures are encoded by all processes, each its share.
    """

    def __init__(
        self,
        fit: Fit,
        catalogue: Catalogue,
        phrases: Sequence[str],
        settings: ConceptSettings,
    ) -> None:
        self.vectors = torch.empty(0)
        """Unit vectors of the current epoch's, [concepts, images, width]."""
        self._fit = fit
        self._catalogue = catalogue
        self._settings = settings
        self._phrases = phrases
        self._folder = fit.folder / "concepts"
        self._truth: Tensor | None = None

    def refresh(self, epoch: int) -> None:
        """Find the images for an epoch, or read those that were found for it."""
        number = epoch if self._settings.refresh else 0
        folder = self._folder / f"epoch-{number}"
        if not is_sealed(folder):
            self._find(number, folder)
        elif reason := damage(folder):
            fit = self._fit.folder
            raise DamagedError(f"{folder}: damaged ({reason}): remove {fit} to train anew.")
        self.vectors = load_file(folder / IMAGES)["vectors"].to(self._fit.device)

    def _find(self, epoch: int, folder: Path) -> None:
        module = self._fit.model.module
        training = module.training
        module.eval()
        self._folder.mkdir(parents=True, exist_ok=True)
        pool = self._pool(epoch)
        if processes.is_main():
            chosen = self._choose(epoch, pool)
            write_atomic(folder / IMAGES, save({"images": chosen, "vectors": pool[chosen]}))
            seal(folder)
            self._note(epoch, chosen)
        processes.wait()
        module.train(training)

    def _pool(self, epoch: int) -> Tensor:
        """Vectors of all views, in the first process; the others hand theirs over in files."""
        count, index = processes.count(), processes.index()
        own = self._catalogue.encoded(range(index, len(self._catalogue), count))
        if count == 1:
            return own
        save_file({"vectors": own}, self._part(epoch, index))
        processes.wait()
        pool = torch.empty(len(self._catalogue), own.shape[1])
        if processes.is_main():
            for each in range(count):
                part = self._part(epoch, each)
                pool[each::count] = load_file(part)["vectors"]
                part.unlink()
        return pool

    def _part(self, epoch: int, index: int) -> Path:
        return self._folder / f".epoch-{epoch}.{index:012x}.tmp"

    def _choose(self, epoch: int, pool: Tensor) -> Tensor:
        """Indices of the views that show each concept, [concepts, images]."""
        settings = self._settings
        # Of its own, so that the order of the rows is the same whatever is drawn here.
        generator = torch.Generator().manual_seed(1_000_003 * self._fit.seed + epoch)
        if settings.source == "random":
            return random_images(len(self._phrases), len(pool), settings.images, generator)
        if settings.source == "true":
            weights = self._true().T + 1e-9  # a concept of no picture at all has any
            return torch.multinomial(weights, settings.images, True, generator=generator)
        prompts = [settings.prompt.format(phrase=phrase) for phrase in self._phrases]
        return concept_images(
            self._fit.model.encode_texts(prompts),
            pool,
            settings.images,
            settings.candidates,
            settings.relevance,
        )

    def _true(self) -> Tensor:
        """Whether each concept is true of each view, [views, concepts]; the lab alone knows."""
        if self._truth is None:
            rows = (self._fit.rows[view.row] for view in self._catalogue.views)
            truth = [self._fit.dataset.truth(row, self._phrases) for row in rows]
            self._truth = torch.tensor(truth)
        return self._truth

    def _note(self, epoch: int, chosen: Tensor) -> None:
        """Write how many of the images are right, where the dataset knows."""
        try:
            truth = self._true()
        except DataError:
            return
        right = truth.T.gather(1, chosen).mean().item()
        row = {"epoch": epoch, "concepts": len(chosen), "right": round(right, 4)}
        append_line(self._fit.folder / "concepts.jsonl", json.dumps(row))
