"""ZegCLIP against a second implementation, written from the paper and from what its code does, step by step."""

import math

import pytest
import torch
import torch.nn.functional as F

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def layer_norm(x, weights, name, eps=1e-5):
    mean, variance = x.mean(-1, keepdim=True), x.var(-1, unbiased=False, keepdim=True)
    return (x - mean) / torch.sqrt(variance + eps) * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def linear(x, weights, name):
    return torch.einsum("...i,oi->...o", x, weights[f"{name}.weight"]) + weights[f"{name}.bias"]


def head_scores(q, k, heads):
    """Scaled scores (B, heads, L, N), one head after the other."""
    size = q.shape[-1] // heads
    parts = [(q[..., h * size : (h + 1) * size], k[..., h * size : (h + 1) * size]) for h in range(heads)]
    return torch.stack([torch.einsum("bld,bnd->bln", *part) / math.sqrt(size) for part in parts], 1)


def attend(scores, v):
    heads = scores.shape[1]
    size = v.shape[-1] // heads
    weights = scores.exp() / scores.exp().sum(-1, keepdim=True)
    return torch.cat([weights[:, h] @ v[..., h * size : (h + 1) * size] for h in range(heads)], -1)


def block(x, weights, name, heads):
    y = layer_norm(x, weights, f"{name}.ln_1")
    attention = {"weight": weights[f"{name}.attn.in_proj_weight"], "bias": weights[f"{name}.attn.in_proj_bias"]}
    q, k, v = (torch.einsum("bli,oi->blo", y, attention["weight"]) + attention["bias"]).chunk(3, -1)
    x = x + linear(attend(head_scores(q, k, heads), v), weights, f"{name}.attn.out_proj")
    hidden = linear(layer_norm(x, weights, f"{name}.ln_2"), weights, f"{name}.mlp.c_fc")
    return x + linear(hidden / (1 + torch.exp(-1.702 * hidden)), weights, f"{name}.mlp.c_proj")


def resized(positions, height, width):
    side = math.isqrt(len(positions) - 1)
    grid = positions[1:].reshape(side, side, -1).permute(2, 0, 1)[None]
    grid = F.interpolate(grid, size=(height, width), mode="bilinear", align_corners=False)[0]
    return torch.cat([positions[:1], grid.permute(1, 2, 0).reshape(height * width, -1)])


def encode(weights, images, *, heads, patch, statistics, class_times, dpt, depth):
    """Image and patch embeddings; `depth` prompts from block 0 on, or from block -depth to the last."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in statistics)
    batch, _, height, width = images.shape
    rows, columns = height // patch, width // patch
    pixels = ((images - mean) / std)[..., : rows * patch, : columns * patch]
    patches = pixels.reshape(batch, 3, rows, patch, columns, patch)
    x = torch.einsum("bchpwq,ocpq->bhwo", patches, weights["conv1.weight"]).reshape(batch, rows * columns, -1)
    positions = resized(weights["positional_embedding"], rows, columns)
    first = class_times * weights["class_embedding"] + positions[0]
    x = torch.cat([first.expand(batch, 1, -1), x + positions[1:]], 1)
    x = layer_norm(x, weights, "ln_pre")
    blocks = 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("blocks."))
    start = 0 if depth > 0 else blocks + depth
    for index in range(blocks):
        own, last = x[:, :1], x[:, -rows * columns :]
        if dpt != "off" and start <= index < start + abs(depth):
            prompt = linear(weights["prompts.embeddings"][index - start], weights, "prompts.projection")
            x = torch.cat([own, prompt.expand(batch, -1, -1), last], 1)
        elif dpt == "deep":
            x = torch.cat([own, last], 1)
        x = block(x, weights, f"blocks.{index}", heads)
    if dpt == "deep":
        x = layer_norm(x, weights, "prompts.norm", 1e-6)
    x = layer_norm(x, weights, "ln_post") @ weights["proj"]
    x = x / x.square().sum(-1, keepdim=True).sqrt()
    return x[:, 0], x[:, -rows * columns :], (rows, columns)


def decode(weights, queries, patches, layers, heads):
    """Mask logits of every layer."""
    masks = []
    for index in range(layers):
        name = f"layers.{index}.attention"
        scores = head_scores(linear(queries, weights, f"{name}.q"), linear(patches, weights, f"{name}.k"), heads)
        masks.append(scores.mean(1))
        if index < layers - 1:
            gathered = attend(scores, linear(patches, weights, f"{name}.v"))
            queries = layer_norm(queries + linear(gathered, weights, f"{name}.proj"), weights, f"layers.{index}.norm2")
            hidden = linear(queries, weights, f"layers.{index}.linear1").clamp(min=0)
            queries = queries + linear(hidden, weights, f"layers.{index}.linear2")
            queries = layer_norm(queries, weights, f"layers.{index}.norm3")
    return masks


FORMULAS = {
    "t": lambda t, g: t,
    "g": lambda t, g: g,
    "t*g": lambda t, g: t * g,
    "t-g": lambda t, g: t - g,
    "|t-g|": lambda t, g: abs(t - g),
    "t+g": lambda t, g: t + g,
}


def reference_masks(method, images, terms):
    """Masks of every layer, class by class, from the state dict and the options alone."""
    options, state, clip = method.options, method.state_dict(), method.clip
    part = {
        name: {key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")}
        for name in ("encoder", "descriptor", "decoder")
    }
    image, patches, grid = encode(
        part["encoder"],
        images,
        heads=3,
        patch=8,
        statistics=IMAGENET if options.normalisation == "imagenet" else (clip.mean, clip.std),
        class_times=2 if options.class_embedding == "twice" else 1,
        dpt=options.dpt,
        depth=1 if options.dpt == "shallow" else options.prompt_depth or 3,
    )
    texts = method.vocabulary.embeddings
    described = [torch.stack([torch.cat([FORMULAS[term](t, g) for term in terms]) for t in texts]) for g in image]
    queries = linear(torch.stack(described), part["descriptor"], "projection")
    masks = decode(part["decoder"], queries, patches, options.layers, options.heads)
    return [mask.reshape(*mask.shape[:2], *grid) for mask in masks]


CASES = [
    {},
    {"dpt": "off"},
    {"dpt": "shallow"},
    {"prompt_depth": 1},
    {"prompt_depth": 2},
    {"prompt_depth": -1},
    {"prompt_depth": -2},
    {"class_embedding": "once", "normalisation": "clip"},
    {"position_size": 72},
    {"layers": 1, "heads": 2},
    {"layers": 4, "heads": 8, "idle_parameters": True},
    {"encoder": "finetuned", "dpt": "off"},
    {"rd": "t"},
    {"rd": "t*g, |t-g|, g"},
    {"rd": ["t-g", "t+g"]},
]


@pytest.mark.parametrize("options", CASES, ids=str)
@pytest.mark.parametrize("size", [(32, 32), (24, 56), (45, 70)])
def test_masks(small_method, options, size):
    """The same masks at CLIP's own size, a flat image, and one whose sides are no multiples of the patch."""
    method = small_method(**options).eval()
    with torch.no_grad():
        for parameter in method.parameters():  # away from initial values such as norms of one and biases of zero
            parameter.add_(0.3 * torch.randn_like(parameter) if parameter.requires_grad else 0)
    images = torch.rand(2, 3, *size)
    terms = options.get("rd", "t*g,t")
    terms = terms.replace(" ", "").split(",") if isinstance(terms, str) else terms
    with torch.no_grad():
        expected = reference_masks(method, images, terms)
        masks = method.masks(images, every_layer=True)
        predicted = method.predict(images)
    assert len(masks) == len(expected) == method.options.layers
    for mask, reference in zip(masks, expected, strict=True):
        torch.testing.assert_close(mask, reference, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(predicted, expected[-1], rtol=1e-4, atol=1e-5)


def test_position_size_resizes_once_before(small_method):
    """With `position_size`, the position embedding is that of a larger image, from which all others are taken."""
    method = small_method(position_size=72)
    own = method.clip.model.visual.positional_embedding
    torch.testing.assert_close(method.encoder.positional_embedding, resized(own, 9, 9))
