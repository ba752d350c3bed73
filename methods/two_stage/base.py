"""The two-stage method: proposals, an opinion on each, and their sum."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor

from zsbench.clip.model import Clip
from zsbench.clip.text import Vocabulary
from zsbench.method import Method

from .fusion import semantic_map
from .heads import full_precision
from .options import RegionOptions
from .prompts import LearnedPrompts, encode
from .proposals import Proposals
from .regions import Cropper, RegionEncoder
from .templates import LEARNED

STAGES = ("proposals", "regions", "fusion")


class TwoStage(Method):
    """Base of the two-stage methods. A subclass says how it proposes (`propose`) and how it scores (`scores`).

    CLIP's image encoder is frozen and part of the module; its text encoder stays outside. `prompts`: where some are learnt.
    """

    prompts: LearnedPrompts

    def __init__(self, clip: Clip, options: RegionOptions, crop: Cropper) -> None:
        super().__init__(clip, options)
        self.regions = RegionEncoder(clip, crop, options.chunk)
        self.ids: Sequence[str] | None = None
        self.truth: Sequence[Tensor] | None = None
        self.begin(())

    @property
    def logit_scale(self) -> None:
        """Sums of probabilities are compared with a threshold as they are."""
        return None

    @abstractmethod
    def propose(self, images: Tensor) -> Iterator[Proposals]:
        """The proposals of each of `images` float32 (B, 3, H, W) in 0..1, at their padded size."""

    @abstractmethod
    def scores(self, image: Tensor, proposals: Proposals) -> Tensor:
        """Scores (Q, C) of the proposals of `image` (3, H, W)."""

    def set_vocabulary(self, vocabulary: Vocabulary) -> None:
        super().set_vocabulary(vocabulary)
        self._texts: dict[str, Tensor] = {}

    def text(self, templates: str) -> Tensor:
        """Unit-norm text embeddings (C, D) of the vocabulary under templates (`prompts.encode`, "learned"), computed once.

        A random CLIP says nothing about any prompt: what the vocabulary has is taken then, and time saved.
        """
        if templates in self._texts:
            return self._texts[templates]
        if templates == LEARNED:
            with torch.no_grad():
                learnt = self.prompts(self.clip.model, self.vocabulary.words)
            self._texts[templates] = learnt.to(self.vocabulary.embeddings)
        elif self.clip.weights.random:
            return self.vocabulary.embeddings
        else:
            self._texts[templates] = encode(self.clip, self.vocabulary, templates)
        return self._texts[templates]

    def predict(self, images: Tensor) -> Tensor:
        """Scores (B, C, H, W), or at 1/stride: the sum over proposals of class score times mask probability."""
        maps: list[Tensor] = []
        found = self.propose(images)
        for image in images:
            with self.timed("proposals"):
                proposals = next(found)
            scores = self.scores(image, proposals)
            with self.timed("fusion"), full_precision(image.device):
                maps.append(semantic_map(scores, self.visible(proposals.masks, image)))
        self.images_seen += len(images)
        return torch.stack(maps)

    def visible(self, masks: Tensor, image: Tensor) -> Tensor:
        """The part of padded masks (Q, H, W) that lies in the image, averaged over squares of `stride` pixels."""
        height, width = image.shape[-2:]
        masks = masks[:, :height, :width]
        stride = self.options.stride
        if stride == 1 or not len(masks):
            return masks[:, ::stride, ::stride]
        return F.interpolate(masks[None], (-(-height // stride), -(-width // stride)), mode="area")[0]

    def encode_regions(self, image: Tensor, masks: Tensor) -> Tensor:
        """CLIP's features (Q, D) of the binary masks; timed and counted."""
        with self.timed("regions"):
            return self.regions(image, masks)

    # What the harness tells and asks around an evaluation.

    @property
    def oracle(self) -> bool:
        """Whether predictions use the ground truth of the image: never a result to rank."""
        return False

    def begin(self, ids: Sequence[str]) -> None:
        """An evaluation on the images `ids` of a split begins: statistics start again."""
        self.images_seen = 0
        self.regions.crops_encoded = 0
        self.seconds = dict.fromkeys(STAGES, 0.0)

    def set_image_ids(self, ids: Sequence[str]) -> None:
        """The ids of the images of the next `predict`."""
        self.ids = ids

    def set_truth(self, labels: Sequence[Tensor]) -> None:
        """Ground truth int (H, W) of the images of the next `predict`; called only where `oracle` is True."""
        self.truth = labels

    def statistics(self) -> Mapping[str, float]:
        """Since `begin`: CLIP crops per image, and the share of time in each stage."""
        total = sum(self.seconds.values()) or 1.0
        shares = {f"share_{stage}": seconds / total for stage, seconds in self.seconds.items()}
        return {"clip_crops_per_image": self.regions.crops_encoded / max(1, self.images_seen), **shares}

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        began = self._now()
        yield
        self.seconds[stage] += self._now() - began

    def _now(self) -> float:
        if self.regions.mean.is_cuda:
            torch.cuda.synchronize(self.regions.mean.device)
        return time.perf_counter()
