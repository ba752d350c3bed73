"""What each training-free method costs, by arithmetic on its description: attention of every stream is counted."""

from dataclasses import dataclass

import pytest
import timm
import torch
from training_free import build

from zsbench.clip.model import Clip
from zsbench.profiling import count_macs

CLASSES, GUIDE = 5, "vit_tiny_patch16_224"


@dataclass(frozen=True)
class Work:
    """Multiply-adds of the parts of a transformer on `grid` patches and a class token."""

    clip: Clip
    patches: int

    @property
    def width(self) -> int:
        return self.clip.model.visual.conv1.out_channels

    @property
    def tokens(self) -> int:
        return self.patches + 1

    @property
    def product(self) -> int:
        """Of one product of all pairs of tokens, over all heads: scores, or values gathered."""
        return self.tokens**2 * self.width

    @property
    def projections(self) -> int:
        """Queries, keys, values and the output."""
        return 4 * self.tokens * self.width**2

    @property
    def network(self) -> int:
        """The feed-forward network."""
        return 8 * self.tokens * self.width**2

    @property
    def before(self) -> int:
        """Patches, and all blocks but the last."""
        visual = self.clip.model.visual
        embedded = self.patches * self.width * 3 * visual.patch_size[0] ** 2
        return embedded + (len(visual.transformer.resblocks) - 1) * (self.projections + 2 * self.product + self.network)

    def compared(self, tokens: int, patches: int) -> int:
        """Tokens into the space of texts, patches compared with them."""
        return self.clip.dim * (tokens * self.width + patches * CLASSES)

    @property
    def after(self) -> int:
        return self.compared(self.tokens, self.patches)


def counted(clip: Clip, name: str, height: int, width: int, **options: object) -> int:
    texts = torch.nn.functional.normalize(torch.randn(CLASSES, clip.dim), dim=1)
    method = build(clip, name, texts, rounded=False, **options)
    with torch.inference_mode():
        return round(1e9 * count_macs(lambda: method.predict(torch.rand(1, 3, height, width))))


@pytest.fixture
def work(tiny_clip: Clip) -> Work:
    return Work(tiny_clip, 6 * 8)


SIDES = (6 * 8, 8 * 8)
"""Height and width of an image of so many of the tiny encoder's patches of 8 pixels."""

LAST_BLOCK = {
    "maskclip": lambda work: work.projections + work.network,
    "sclip": lambda work: work.projections + 4 * work.product + work.network,
    "clearclip": lambda work: work.projections + 2 * work.product,
    "naclip": lambda work: work.projections + 2 * work.product,
}
"""What the last block does: values alone; queries and keys each among themselves; queries; keys."""


@pytest.mark.parametrize("name", LAST_BLOCK)
def test_the_last_block_costs_what_it_does(work: Work, name: str) -> None:
    assert counted(work.clip, name, *SIDES) == work.before + LAST_BLOCK[name](work) + work.after


def test_the_second_path_of_gem_is_counted(work: Work) -> None:
    """In each of `depth` blocks values, keys and queries are settled, and gather values: two products each time."""
    path = work.projections + 3 * (1 + 1) * 2 * work.product
    found = counted(work.clip, "gem", *SIDES, depth=2, iterations=1)
    assert found == work.before + 2 * path + work.after


def test_both_passes_of_resclip_are_counted(work: Work) -> None:
    """And the Gaussian of 31 taps that smooths each row of the second one's weights."""
    passes = 2 * (work.projections + 2 * work.product + work.after)
    assert counted(work.clip, "resclip", *SIDES) == work.before + passes + 31 * work.patches**2


def test_both_streams_of_sc_clip_and_its_likenesses_are_counted(work: Work) -> None:
    """Products of patches alone: three likenesses and the last features gathered; in each of two streams one by focus,
    two by keys, and the answer gathered. What mends outliers is no product of matrices but for a kernel of 3 x 3."""
    pairs = work.patches**2 * work.width
    streams = 2 * (work.patches * 4 * work.width**2 + 4 * pairs)
    known = work.before + 4 * pairs + streams + work.compared(work.patches, work.patches)
    mending = 2 * 9 * work.patches * (work.width + 1)
    assert counted(work.clip, "sc-clip", *SIDES) == known + mending


def test_the_guide_of_proxyclip_is_counted(tiny_clip: Clip) -> None:
    """Its own forward pass, by timm; its likenesses; and values gathered on its grid. Sides are multiples of 56 pixels."""
    guide = timm.create_model(GUIDE, pretrained=False, num_classes=0, img_size=(112, 168)).eval()
    with torch.inference_mode():
        own = round(1e9 * count_macs(lambda: guide(torch.rand(1, 3, 112, 168))))
    work, places = Work(tiny_clip, 14 * 21), 7 * 10
    clip = work.before + 3 * work.tokens * work.width**2 + places * work.width**2 + work.compared(places, places)
    gathered = places**2 * (work.width + guide.embed_dim)
    assert counted(tiny_clip, "proxyclip", 112, 168, guide=GUIDE) == own + clip + gathered
