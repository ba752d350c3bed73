"""What holds for every training-free method: shapes at any size, images that do not mix, refusals in words."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from training_free import build

from zsbench.clip.model import Clip, load_clip
from zsbench.clip.tower import Tokens
from zsbench.errors import UserError
from zsbench.methods.training_free.base import DenseClip
from zsbench.methods.training_free.frames import enlarged, framed, level
from zsbench.methods.training_free.neighbours import neighbourhood
from zsbench.methods.training_free.options import MaskClipPlusOptions, ProxyClipOptions
from zsbench.methods.training_free.similarity import sharpened
from zsbench.runs.request import Request
from zsbench.runs.resolve import resolve

NAMES = ("maskclip", "sclip", "clearclip", "naclip", "gem", "sc-clip", "resclip", "proxyclip")
SMALL_GUIDE = {"proxyclip": {"guide": "vit_tiny_patch16_224"}}


def made(clip: Clip, name: str, **options: Any) -> Any:
    texts = torch.nn.functional.normalize(torch.randn(5, clip.dim, generator=torch.Generator().manual_seed(3)), dim=1)
    return build(clip, name, texts, rounded=False, **{**SMALL_GUIDE.get(name, {}), **options})


def images(count: int, height: int, width: int) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize("name", NAMES)
def test_images_of_any_size_do_not_mix(tiny_clip: Clip, name: str) -> None:
    method = made(tiny_clip, name)
    with torch.inference_mode():
        for height, width in ((33, 50), (8, 8), (64, 17)):
            batch = images(2, height, width)
            logits = method.predict(batch)
            assert logits.shape[:2] == (2, 5) and torch.isfinite(logits).all()
            torch.testing.assert_close(
                method.predict(batch[1:])[0], logits[1], atol=1e-3 if name == "gem" else 1e-5, rtol=0
            )


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_of_one_colour_gets_finite_scores(tiny_clip: Clip, name: str) -> None:
    with torch.inference_mode():
        assert torch.isfinite(made(tiny_clip, name).predict(torch.full((1, 3, 40, 40), 0.3))).all()


@pytest.mark.parametrize("name", NAMES)
def test_every_preset_and_variant_is_a_set_of_options(tiny_clip: Clip, name: str) -> None:
    options = type(made(tiny_clip, name).options)
    for preset in options.presets.values():
        options(**preset.options)
    for variant in options.variants.values():
        options(**variant)


@pytest.mark.parametrize(
    ("name", "variant"), [("maskclip", "quoted"), ("gem", "clearclip-residual"), ("gem", "clearclip-no-residual")]
)
def test_clearclips_copies_come_with_its_words_and_windows(name: str, variant: str) -> None:
    for dataset in ("voc21", "context60", "coco-object", "cityscapes"):
        copy = resolve(Request(method=name, variant=variant, dataset=dataset))
        theirs = resolve(Request(method="clearclip", dataset=dataset))
        assert copy.protocol() == theirs.protocol() and copy.texts(None) == theirs.texts(None)
        shared = ("logit_scale", "resize", "padding")
        assert [getattr(copy.options(None), each) for each in shared] == [
            getattr(theirs.options(None), each) for each in shared
        ]


@pytest.mark.parametrize("dataset", ["voc21", "voc20", "ade20k"])
def test_gem_sees_squares_as_in_its_example(dataset: str) -> None:
    resolved = resolve(Request(method="gem", dataset=dataset))
    protocol = resolved.protocol()
    assert (protocol.stretch, protocol.crop, protocol.background_threshold) == (448, None, None)
    assert resolved.texts(None)[1] == "a photo of a {}." and resolved.options(None).logit_scale == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("dataset", "steps"),
    [("pascal-voc", 2000), ("voc20", 2000), ("context59", 4000), ("cityscapes", 4000), ("coco-stuff", 8000)],
)
def test_annotation_free_variants_are_a_tenth_as_long_on_the_network_beside_vit_b16(dataset: str, steps: int) -> None:
    for variant, options in MaskClipPlusOptions.variants.items():
        resolved = resolve(Request(method="maskclip-plus", dataset=dataset, variant=variant))
        asked: Any = resolved.options(None)
        if "annotations" in options:
            assert (resolved.recipe().iterations, asked.backbone) == (steps, "resnet50c")
        assert asked.void == ("known" if "released" in variant else "hidden")


def test_maskclip_plus_on_ade20k_and_miniworld() -> None:
    """The release forgets to leave anything out on the one; the other has a network and steps of its own."""
    for variant in MaskClipPlusOptions.variants:
        ade = resolve(Request(method="maskclip-plus", dataset="ade20k", variant=variant))
        assert ade.options(None).void == "hidden"  # type: ignore[attr-defined]
        small = resolve(Request(method="maskclip-plus", dataset="miniworld", variant=variant))
        assert (small.options(None).backbone, small.recipe().iterations) == ("miniature", 600)  # type: ignore[attr-defined]


@pytest.mark.parametrize("dataset", ["voc21", "context60", "coco-object"])
def test_what_maskclip_plus_learns_has_no_background_by_threshold(dataset: str) -> None:
    assert resolve(Request(method="maskclip-plus", dataset=dataset)).protocol().background_threshold is None


def test_annotation_free_maskclip_plus_on_sets_where_nothing_is_unseen() -> None:
    for dataset, steps in (("voc20", 2000), ("cityscapes", 4000), ("ade20k", 8000)):
        resolved = resolve(Request(method="maskclip-plus", dataset=dataset))
        assert resolved.recipe().iterations == steps and not resolved.options(None).annotations  # type: ignore[attr-defined]
    city = resolve(Request(method="maskclip-plus", dataset="cityscapes"))
    recipe, protocol = city.recipe(), city.protocol()
    assert recipe.crop_size == (512, 1024) and (recipe.short_side, recipe.long_side) == (1024, 2048)
    assert (protocol.short_side, protocol.max_long_side, protocol.crop) == (1024, 2048, None)


def test_proxyclip_that_clip_guides_mixes_values_of_patches_that_clip_finds_alike(tiny_clip: Clip) -> None:
    """Sharp enough, every patch is like itself alone, and the last block hands on its own value."""

    class Values(DenseClip):
        def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, tokens: Tokens) -> torch.Tensor:
            return v

    sharp, soft = (made(tiny_clip, "proxyclip", guide="clip", sharpness=sharpness) for sharpness in (1e6, 3.0))
    alone = Values(tiny_clip, sharp.options)
    alone.set_vocabulary(sharp.vocabulary)
    batch = images(2, 32, 48)
    with torch.inference_mode():
        torch.testing.assert_close(sharp.cosines(batch), alone.cosines(batch), atol=1e-5, rtol=1e-4)
        assert not torch.allclose(soft.cosines(batch), alone.cosines(batch), atol=1e-3)
    assert len(list(sharp.parameters())) == len(list(alone.parameters()))  # no second network


def test_weights_of_a_guide_that_is_clip_are_refused() -> None:
    with pytest.raises(ValueError, match="guide_weights are not used where the guide is clip"):
        ProxyClipOptions(guide="clip", guide_weights=Path("dino.pth"))


def test_more_blocks_than_an_encoder_has_are_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    clip = load_clip("RN50-quickgelu", "random")
    for name in ("sc-clip", "resclip"):
        with pytest.raises(UserError, match=rf"{name} needs 2 attention blocks; RN50-quickgelu has 1"):
            made(clip, name)


@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 20), st.sampled_from(["cut", "corner", "centred"]))
@settings(deadline=None)
def test_a_frame_holds_the_image(height: int, width: int, multiple: int, padding: str) -> None:
    batch = images(1, height, width)
    top, left, padded = framed(batch, multiple, padding)
    assert torch.equal(padded[..., top : top + height, left : left + width], batch)
    assert padded.sum() == pytest.approx(float(batch.sum()), rel=1e-4)
    if padding == "cut":
        assert padded.shape == batch.shape
    else:
        assert all(side % multiple == 0 for side in padded.shape[-2:])
        assert (top, left) == (
            (0, 0) if padding == "corner" else tuple((-side % multiple) // 2 for side in (height, width))
        )


def test_neighbours_are_weighed_by_their_distance_in_the_grid() -> None:
    added = neighbourhood(Tokens(torch.zeros(1, 7, 2), (2, 3), prefix=1), deviation=2.0)
    assert added.shape == (7, 7) and not added[0].any() and not added[:, 0].any()
    assert torch.equal(added[1:, 1:].diagonal(), torch.ones(6))
    torch.testing.assert_close(added[1, 6], torch.tensor(-(1**2 + 2**2) / 8).exp())  # from (0, 0) to (1, 2)


def test_only_the_alike_are_attended_to() -> None:
    likeness = torch.tensor([[[1.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 1.0]]])  # mean 4/9
    weights = sharpened(likeness, 1.0, 3.0)[0]
    torch.testing.assert_close(weights.sum(1), torch.ones(3))
    assert torch.equal(weights == 0, likeness[0] < 4 / 9)
    assert weights[0, 0] / weights[0, 1] == pytest.approx(2.718281828**1.5, rel=1e-5)
    torch.testing.assert_close(sharpened(torch.ones(1, 2, 2), 1.2, 3.0), torch.full((1, 2, 2), 0.5))


def test_a_depth_is_that_of_twelve_blocks_scaled() -> None:
    assert [level(index, 12) for index in range(11)] == list(range(11))
    assert [level(index, 24) for index in (0, 3, 8, 10)] == [0, 7, 18, 22]
    assert [level(index, 4) for index in (0, 3, 8, 10)] == [0, 1, 2, 2]


def test_maps_are_enlarged_as_the_harness_does() -> None:
    maps = images(1, 4, 5)
    assert enlarged(maps, (4, 5)) is maps and enlarged(maps, (9, 11)).shape == (1, 3, 9, 11)


def test_images_smaller_than_a_patch_are_refused(tiny_clip: Clip) -> None:
    with pytest.raises(UserError, match="an image of 40x7 px is smaller than a patch"):
        made(tiny_clip, "maskclip", padding="cut").predict(images(1, 7, 40))
