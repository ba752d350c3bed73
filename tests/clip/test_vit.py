"""Dense methods take a plain vision transformer apart, and say so where they are given another image encoder."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import timm
import torch
from open_clip.transformer import VisionTransformer

from zsbench.clip.vit import embed, plain_vit
from zsbench.errors import UserError
from zsbench.methods.zegclip.method import ZegClip
from zsbench.methods.zegclip.options import ZegClipOptions

SMALL = {"image_size": 8, "patch_size": 8, "width": 8, "layers": 1, "heads": 1, "mlp_ratio": 1.0, "output_dim": 8}


def test_open_clips_own_transformer_is_taken(tiny_clip):
    assert plain_vit(tiny_clip, "any") is tiny_clip.model.visual


@pytest.mark.parametrize(
    ("visual", "kind"),
    [
        (lambda: timm.create_model("test_vit"), "a VisionTransformer|a Vit"),
        (lambda: torch.nn.Conv2d(3, 3, 1), "a Conv2d"),
        (lambda: VisionTransformer(**SMALL, attentional_pool=True), "with an attention pool"),
    ],
)
def test_any_other_image_encoder_is_refused_by_name(tiny_clip, visual, kind):
    clip = replace(tiny_clip, name="other", model=SimpleNamespace(visual=visual()))
    with pytest.raises(UserError, match=f"(?s)clip needs open_clip.*other has .*{kind}.*Choose another --clip"):
        ZegClip(clip, ZegClipOptions())


@pytest.mark.parametrize("size", [(1, 1), (7, 40), (40, 7)])
def test_images_smaller_than_a_patch_are_refused(tiny_clip, size):
    with pytest.raises(UserError, match=f"an image of {size[1]}x{size[0]} px is smaller than a patch"):
        embed(tiny_clip.model.visual, torch.zeros(1, 3, *size))
