"""The text encoder against outputs of the released ZegCLIP's copy of CLIP's, under regenerable weights."""

import re
import zlib
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from zsbench.clip.model import load_clip
from zsbench.clip.text import encode_prompts

VOC = (
    "aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person "
    "pottedplant sheep sofa train tvmonitor"
)
IMAGE_KEYS = ("visual.", "logit_scale")


def golden_value(key: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The rule's value of the official tensor `key`, for those that a text encoder has."""
    draws = np.random.RandomState(zlib.crc32(key.encode()) & 0x7FFFFFFF).standard_normal(shape).astype(np.float32)
    if re.search(r"ln_\w+\.weight$", key):
        return 1 + np.float32(0.2) * draws
    if key.endswith("bias"):
        return np.float32(0.05) * draws
    if key.endswith(("positional_embedding", "token_embedding.weight")):
        return np.float32(0.5) * draws
    fan_in = shape[0] if key.endswith("text_projection") else int(np.prod(shape[1:]))
    return np.float32(fan_in**-0.5) * draws


def test_text_embeddings_equal_the_official_ones(goldens_of: Any) -> None:
    golden = np.load(goldens_of("zegclip") / "text_encoder.npz")
    clip = load_clip("ViT-B-16-quickgelu", "random")
    with torch.no_grad():
        for key, tensor in clip.model.state_dict().items():
            if not key.startswith(IMAGE_KEYS):
                value = golden_value(f"text_encoder.{key}", tuple(tensor.shape))
                tensor.copy_(torch.from_numpy(value))
    prompts = [f"a photo of a {name}" for name in VOC.split()]
    assert np.array_equal(clip.tokenizer(prompts).numpy(), golden["tokens"])
    embeddings = encode_prompts(clip, prompts).numpy()
    np.testing.assert_allclose(embeddings, golden["normalised"], atol=1e-6, rtol=0)
