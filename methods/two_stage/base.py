"""The two-stage method: proposals, an opinion on each, and their sum."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from zsbench.clip.model import Clip
from zsbench.clip.text import Vocabulary
from zsbench.method import ImageBatch, Method, Prediction

from .fusion import semantic_map
from .heads import full_precision
from .options import RegionOptions
from .prompts import LearnedPrompts, encode
from .proposals import Proposals
from .regions import Cropper, RegionEncoder
from .templates import LEARNED
from .trace import Trace, statistics


class TwoStage(Method):
    """Base of the two-stage methods. A subclass says how it proposes (`propose`) and how it scores (`scores`).

    CLIP's image encoder is frozen and part of the module; its text encoder stays outside. `prompts`: where some are learnt.
    """

    prompts: LearnedPrompts

    def __init__(self, clip: Clip, options: RegionOptions, crop: Cropper) -> None:
        super().__init__(clip, options)
        self.regions = RegionEncoder(clip, crop, options.chunk, options.fill)
        self.trace = Trace()

    @property
    def logit_scale(self) -> None:
        """Sums of probabilities are compared with a threshold as they are."""
        return None

    @abstractmethod
    def propose(self, batch: ImageBatch) -> Iterator[Proposals]:
        """The proposals of each image of `batch`, at their padded size."""

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
        return self.predict_batch(ImageBatch(images)).logits

    def predict_batch(self, batch: ImageBatch) -> Prediction:
        """Scores (B, C, H, W), or at 1/stride: the sum over proposals of class score times mask probability."""
        maps, traces = [], []
        found = self.propose(batch)
        for image in batch.images:
            self.trace = Trace()
            traces.append(self.trace)
            with self.trace.stage("proposals", image.device):
                proposals = next(found)
            scores = self.scores(image, proposals)
            with self.trace.stage("fusion", image.device), full_precision(image.device):
                maps.append(semantic_map(scores, self.visible(proposals.masks, image)))
        return Prediction(torch.stack(maps), partial(statistics, traces))

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
        self.trace.crops += len(masks)
        with self.trace.stage("regions", image.device):
            return self.regions(image, masks)
