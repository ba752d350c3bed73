"""Reference outputs of the released model, and small CLIPs to build ZegCLIP on."""

import json
import re
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from open_clip import CLIP

from zsbench.checkpoint import trainable_state_dict
from zsbench.clip.model import Clip, load_clip
from zsbench.clip.text import Vocabulary
from zsbench.methods.zegclip.checkpoint import EMPTY_WEIGHT, ReleasedFile, convert
from zsbench.methods.zegclip.method import ZegClip
from zsbench.methods.zegclip.options import ZegClipOptions

LAYER_NORM = re.compile(r"(ln_\w+|norm\d?|prompt_norm)\.weight$")
QUERY_KEY = re.compile(r"multihead_attn\.[qk]\.weight$")
EMBEDDINGS = ("class_embedding", "positional_embedding", "prompt_embeddings", "token_embedding.weight")


def rule_value(key, shape):
    """The tensor of a released key by the rule of the reference outputs: float32 of `shape`."""
    draws = np.random.RandomState(zlib.crc32(key.encode()) & 0x7FFFFFFF).standard_normal(shape).astype(np.float32)
    if LAYER_NORM.search(key):
        return torch.from_numpy(1 + np.float32(0.2) * draws)
    if key.endswith("bias"):
        return torch.from_numpy(np.float32(0.05) * draws)
    if key.endswith(EMBEDDINGS):
        return torch.from_numpy(np.float32(0.5) * draws)
    if key.endswith((".proj", "text_projection")):
        return torch.from_numpy(np.float32(shape[0] ** -0.5) * draws)
    gain = 12.0 if QUERY_KEY.search(key) else 1.0
    return torch.from_numpy(np.float32(gain * float(np.prod(shape[1:])) ** -0.5) * draws)


@pytest.fixture(scope="session")
def goldens(goldens_of):
    """The reference outputs of the released model."""
    return goldens_of("zegclip")


@pytest.fixture(scope="session")
def released_keys(goldens):
    """Key to shape of the released PASCAL VOC model."""
    keys = json.loads((goldens / "keys.json").read_text())["keys"]
    return {key: tuple(entry["shape"]) for key, entry in keys.items()}


@pytest.fixture(scope="session")
def released_state(released_keys):
    """The released model's image path under the rule's weights."""
    state = {key: rule_value(key, shape) for key, shape in released_keys.items() if not key.startswith("text_encoder.")}
    state[EMPTY_WEIGHT] = torch.ones(released_keys[EMPTY_WEIGHT])
    return state


def vit_b_16(image_size, text_width=64):
    """Config of CLIP's ViT-B/16, by default with a text encoder too small to cost time."""
    heads, layers = (8, 12) if text_width == 512 else (1, 1)
    return {
        "embed_dim": 512,
        "quick_gelu": True,
        "vision_cfg": {"image_size": image_size, "layers": 12, "width": 768, "patch_size": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": text_width, "heads": heads, "layers": layers},
    }


@pytest.fixture(scope="session")
def meta_clip():
    """The CLIP of the paper without any numbers in it: enough to count and to name."""
    with torch.device("meta"):
        model = CLIP(**vit_b_16(224, 512))
    model.eval().requires_grad_(False)
    return SimpleNamespace(name="ViT-B-16-quickgelu", model=model, patch_size=16, dim=512)


@pytest.fixture(scope="session")
def rule_clip(released_state, tmp_path_factory) -> Clip:
    """A ViT-B/16 whose image encoder has the rule's weights."""
    path = tmp_path_factory.mktemp("clip") / "vit-b-16.json"
    path.write_text(json.dumps(vit_b_16(512)))
    clip = load_clip(str(path), "random")
    prefix = "backbone."
    visual = {key.removeprefix(prefix): value for key, value in released_state.items() if "prompt" not in key}
    visual = {key: value for key, value in visual.items() if not key.startswith("decode_head.")}
    clip.model.visual.load_state_dict(visual, strict=True)
    return clip


@pytest.fixture(scope="session")
def released_method(rule_clip, released_state, goldens):
    """Builds the method with the rule's weights and PASCAL VOC's text embeddings, in eval mode."""

    def build(classes=20, dpt="deep", **options) -> ZegClip:
        method = ZegClip(rule_clip, ZegClipOptions(dpt=dpt, **options))
        deep = method if dpt == "deep" else ZegClip(rule_clip, ZegClipOptions(**options))
        state = convert(ReleasedFile("rule", released_state, 15, "inductive"), deep)
        if dpt != "deep":
            state["encoder.prompts.embeddings"] = state["encoder.prompts.embeddings"][:1]
        method.load_state_dict({name: state[name] for name in trainable_state_dict(method)}, strict=False)
        embeddings = torch.from_numpy(np.load(goldens / "voc_384.npz")["text_embeddings"]).float()
        seen = torch.arange(20) < 15
        names = tuple(f"class {index}" for index in range(classes))
        method.set_vocabulary(Vocabulary(names, embeddings[:classes], seen[:classes]))
        method.encoder.mean, method.encoder.std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)  # inputs are normalised already
        return method.eval()

    return build


@pytest.fixture(scope="session")
def noise():
    """The reference input of a shape: it goes into the encoder as it is."""

    def make(*shape) -> torch.Tensor:
        return torch.from_numpy(np.random.RandomState(0).standard_normal(shape).astype(np.float32))

    return make


SMALL = {
    "embed_dim": 32,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "layers": 3, "width": 48, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 8, "vocab_size": 49408, "width": 16, "heads": 1, "layers": 1},
}


@pytest.fixture(scope="session")
def small_clip(tmp_path_factory) -> Clip:
    """A random CLIP small enough for hundreds of passes: patches of 8 pixels, width 48, 3 blocks, embeddings of 32."""
    path = tmp_path_factory.mktemp("clip") / "tiny.json"
    path.write_text(json.dumps(SMALL))
    return load_clip(str(path), "random")


@pytest.fixture
def small_method(small_clip):
    """Builds a small ZegCLIP with 5 classes, the last two unseen; `seed` draws its weights."""

    def build(seed=0, **options) -> ZegClip:
        torch.manual_seed(seed)
        small = {"prompts": 4, "heads": 4, "ffn": 24, "position_size": None}
        method = ZegClip(small_clip, ZegClipOptions(**small | options))
        embeddings = F.normalize(torch.randn(5, small_clip.dim), dim=-1)
        seen = torch.tensor([True, True, True, False, False])
        method.set_vocabulary(Vocabulary(("a", "b", "c", "d", "e"), embeddings, seen))
        return method

    return build
