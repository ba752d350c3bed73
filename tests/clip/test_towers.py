"""Image encoders in parts: put together again they are the encoder, and none of open_clip's models ends in a traceback."""

from typing import Any

import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.model import CLIPVisionCfg, _build_vision_tower
from open_clip.timm_model import TimmModel
from torch import Tensor, nn

from zsbench.clip.model import read_config
from zsbench.clip.tower import Positions, Tokens, Tower, resize_positions
from zsbench.clip.towers import tower_of
from zsbench.errors import UserError

SMALL = [
    "ViT-S-32",
    "ViT-M-16-alt",
    "RN50-quickgelu",
    "coca_ViT-B-32",
    "convnext_tiny",
    "MobileCLIP-S1",
    "PE-Core-T-16-384",
]
"""Quick to build, one of each kind: supported and refused."""


def build(vision: dict[str, Any], embed_dim: int = 16) -> Any:
    """An image encoder of open_clip's, every parameter drawn: none of them is left at 0 or 1."""
    return drawn(_build_vision_tower(embed_dim, CLIPVisionCfg(**vision), quick_gelu=True))


def drawn(visual: Any) -> Any:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in visual.parameters():
            fan_in = max(1, parameter[0].numel()) if parameter.ndim > 1 else 100
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * fan_in**-0.5)
    return visual.eval()


def through(tower: Tower, images: Tensor) -> Tokens:
    """All blocks, as they are."""
    tokens = tower.embed(images)
    for block in tower.blocks:
        tokens = tower.run(block, tokens)
    return tokens


def pixels(side: int) -> Tensor:
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))


PLAIN = {"image_size": 32, "layers": 3, "width": 64, "head_width": 32, "patch_size": 8}


@pytest.mark.parametrize(
    "changes", [{}, {"ls_init_value": 0.1}, {"no_ln_pre": True}, {"image_size": (32, 48)}, {"patch_size": 16}]
)
def test_open_clips_transformer_is_the_sum_of_its_parts(changes: dict[str, Any]) -> None:
    visual = build(PLAIN | changes)
    images = torch.randn(2, 3, *visual.image_size)
    with torch.no_grad():
        tower = tower_of(visual, "x")
        tokens = through(tower, images)
        torch.testing.assert_close(tower.finish(tokens)[:, 0], visual(images), atol=2e-6, rtol=0)
    assert tokens.grid == visual.grid_size and tokens.prefix == 1
    assert tokens.patches.shape[1] == tokens.grid[0] * tokens.grid[1]


@pytest.mark.parametrize(
    ("name", "pool"),
    [
        ("vit_tiny_patch16_224", "token"),
        ("vit_pe_core_tiny_patch16_384", "map"),
        ("eva02_tiny_patch14_224", "token"),
        ("vit_tiny_patch16_224", "avg"),
    ],
)
def test_timms_transformers_are_the_sum_of_their_parts(name: str, pool: str) -> None:
    visual = drawn(TimmModel(name, 16, pool=pool, proj="linear"))
    images = pixels(visual.trunk.patch_embed.img_size[0])
    with torch.no_grad():
        tower = tower_of(visual, name)
        tokens = through(tower, images)
        whole = visual.head(visual.trunk.forward_head(visual.trunk.norm(tokens.features)))
        torch.testing.assert_close(whole, visual(images), atol=2e-6, rtol=0)
        if pool == "token":
            torch.testing.assert_close(tower.finish(tokens)[:, 0], visual(images), atol=2e-6, rtol=0)
        other = tower.embed(images[..., :70, :130], "bicubic")  # another grid: rotary and absolute positions follow it
        assert other.grid == (70 // tower.patch, 130 // tower.patch)
        assert tower.finish(tower.run(tower.blocks[0], other)).shape == (2, other.features.shape[1], 16)
        torch.testing.assert_close(visual(images), whole, atol=2e-6, rtol=0)  # and the encoder is as before


def test_a_resnets_pool_is_its_block() -> None:
    """Without positions in the pool, all that stands between it and the encoder."""
    visual = build({"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "patch_size": None})
    images = pixels(64)
    with torch.no_grad():
        visual.attnpool.positional_embedding.zero_()
        tower = tower_of(visual, "RN")
        tokens = through(tower, images)
        torch.testing.assert_close(tower.finish(tokens)[:, 0], visual(images), atol=1e-5, rtol=0)
    assert tokens.grid == (2, 2) and tower.embed(torch.zeros(1, 3, 70, 100)).grid == (2, 3)


@given(st.sampled_from(["bilinear", "bicubic", "scale", "antialias"]), st.integers(1, 9), st.integers(1, 9))
@settings(max_examples=40, deadline=None)
def test_positions_keep_their_prefix_and_reach_the_grid(mode: Positions, rows: int, columns: int) -> None:
    embedding = torch.randn(2 + 6 * 6, 5)
    resized = resize_positions(embedding, (6, 6), (rows, columns), mode, prefix=2)
    assert resized.shape == (2 + rows * columns, 5) and torch.equal(resized[:2], embedding[:2])
    assert torch.equal(resize_positions(embedding, (6, 6), (6, 6), mode, prefix=2), embedding)


def test_the_four_ways_of_resizing_positions_differ() -> None:
    embedding = torch.randn(1 + 14 * 14, 8)
    ways = [
        resize_positions(embedding, (14, 14), (9, 21), mode, 1)
        for mode in ("bilinear", "bicubic", "scale", "antialias")
    ]
    assert all((ways[i] - ways[j]).abs().max() > 1e-2 for i in range(4) for j in range(i))


def check_on_meta(name: str) -> str:
    """A model of open_clip's gives tokens and features of the right shape, or a refusal: "" or the reason."""
    config = read_config(name)
    with torch.device("meta"), torch.no_grad():
        arguments = (config["embed_dim"], CLIPVisionCfg(**config["vision_cfg"]), config.get("quick_gelu", False))
        try:
            tower = tower_of(_build_vision_tower(*arguments).eval(), name)
        except UserError as error:
            return str(error)
        tokens = tower.embed(torch.empty(1, 3, 5 * tower.patch, 7 * tower.patch), "scale")
        assert tokens.grid == (5, 7)
        for block in tower.blocks:
            tokens = tower.run(block, tokens)
        assert tower.finish(tokens).shape == (1, tokens.prefix + 35, config["embed_dim"])
    return ""


@pytest.mark.parametrize("name", SMALL)
def test_some_of_open_clips_models_are_supported_or_refused(name: str) -> None:
    reason = check_on_meta(name)
    refused = name.startswith(("coca", "convnext", "MobileCLIP-S"))
    assert refused == bool(reason) and (not refused or reason.startswith(f"{name} cannot give dense features: "))


@pytest.mark.slow
@pytest.mark.parametrize("name", open_clip.list_models())
def test_every_model_of_open_clips_is_supported_or_refused(name: str) -> None:
    convolutions = ("convnext", "swin", "coca_ViT", "MobileCLIP-S", "MobileCLIP2-S", "vit_relpos")
    assert bool(check_on_meta(name)) == name.startswith(convolutions)


def test_unknown_attention_is_refused() -> None:
    own = build(PLAIN | {"block_type": "custom", "qk_norm": True})
    gated = TimmModel("vit_tiny_patch16_224", 16, pool="token")
    gated.trunk.blocks[0].attn.gate = nn.Linear(192, 192)
    for visual in (own, gated, nn.Linear(2, 2)):
        with pytest.raises(UserError, match="Choose another --clip"):
            tower_of(visual, "x")
