"""The released model's outputs, losses and gradients, from the same weights and inputs."""

import functools
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from zsbench.dataset import IGNORE, UNLABELLED
from zsbench.methods.zegclip.checkpoint import released_names
from zsbench.methods.zegclip.losses import pseudo_labels

MASKS, SCORES, EMBEDDINGS = 5e-5, 1e-5, 1e-6
"""Absolute tolerances: several times what changes with the number of threads or with float64."""
LOSSES = 1e-5
"""Relative tolerance."""


@pytest.fixture(scope="module")
def method(released_method):
    return released_method()


def load(goldens, name):
    return np.load(goldens / f"{name}.npz")


def report(record_property, name, actual, expected):
    """Record and return the largest absolute difference."""
    error = float(np.abs(np.asarray(actual, dtype=np.float64) - expected).max())
    record_property(name, error)
    return error


def scores_of(method, masks, size):
    """Scores (B, C, H, W) as the harness takes them: upsampled to `size`, then scored."""
    upsampled = F.interpolate(masks, size, mode="bilinear", align_corners=False)
    return method.score(upsampled, slice(None))


@pytest.fixture(scope="module")
def forward(method, noise):
    """Every stage of a forward pass at 512 x 512: the encoder's blocks are spied upon, the rest is run by hand."""

    def run(batch):
        stages = {"blocks": []}
        hooks = [
            b.ln_1.register_forward_pre_hook(lambda _, x: stages["blocks"].append(x[0])) for b in method.encoder.blocks
        ]
        images, texts = noise(batch, 3, 512, 512), method.vocabulary.embeddings
        with torch.inference_mode():
            stages["global"], stages["patches"] = method.encoder(images)
            stages["query_in"] = method.descriptor.describe(texts, stages["global"])
            stages["query"] = method.descriptor(texts, stages["global"])
            masks = method.decoder(stages["query"], stages["patches"], every_layer=True)
            first = method.decoder.layers[0](stages["query"], stages["patches"])
            stages["layers"] = torch.stack([first, method.decoder.layers[1](first, stages["patches"])])
        for hook in hooks:
            hook.remove()
        return stages | {"masks": torch.stack(masks).unflatten(-1, (32, 32))}

    return functools.cache(run)


@pytest.mark.parametrize("batch", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_inductive(method, forward, goldens, record_property, batch):
    golden, stages = load(goldens, f"inductive_b{batch}"), forward(batch)
    patches = stages["patches"].mT.unflatten(-1, (32, 32))[:, :, ::4, ::4]
    scores = scores_of(method, stages["masks"][-1], (512, 512))
    assert report(record_property, "global", stages["global"], golden["global_embedding"]) <= EMBEDDINGS
    assert report(record_property, "patches", patches, golden["visual_embedding_s4"]) <= EMBEDDINGS
    assert report(record_property, "query_in", stages["query_in"], golden["query_in"]) <= EMBEDDINGS
    assert report(record_property, "query", stages["query"], golden["query"]) <= EMBEDDINGS
    assert report(record_property, "layers", stages["layers"], golden["dec_out"][:2]) <= MASKS
    for layer in range(3):
        assert report(record_property, f"masks {layer}", stages["masks"][layer], golden["masks"][layer]) <= MASKS
    assert report(record_property, "out", scores[:, :, ::8, ::8], golden["out_s8"]) <= SCORES
    wrong = (scores[:, :, ::2, ::2].argmax(1).numpy() != golden["argmax_s2"]).sum()
    record_property("argmax", int(wrong))
    assert wrong <= 2


def test_blocks(forward, goldens, record_property):
    """The class token and a patch before the first block and after each but the last, whose output has its own tests."""
    golden, blocks = load(goldens, "inductive_b1"), forward(1)["blocks"]
    assert report(record_property, "first class token", blocks[0][:, 0], golden["ln_pre_cls"]) <= MASKS
    assert report(record_property, "first patch", blocks[0][:, 11], golden["ln_pre_patch0"]) <= MASKS
    for name, token in (("block_cls", 0), ("block_last_patch", -1)):
        outputs = torch.stack([tokens[:, token] for tokens in blocks[1:]])
        assert report(record_property, name, outputs, golden[name][:11]) <= MASKS


@pytest.mark.parametrize("side", [384, pytest.param(640, marks=pytest.mark.slow)])
def test_other_sizes(method, noise, goldens, record_property, side):
    """Smaller and larger squares; the release scores them at 512 x 512 and resizes the scores."""
    golden = load(goldens, "extra_sizes")
    with torch.inference_mode():
        images = noise(1, 3, side, side)
        masks = method.predict(images)
        image, _ = method.encoder(images)
        scores = F.interpolate(scores_of(method, masks, (512, 512)), (side, side), mode="bilinear", align_corners=False)
    assert report(record_property, "global", image, golden[f"global_{side}"]) <= EMBEDDINGS
    assert report(record_property, "masks", masks, golden[f"mask_last_{side}"]) <= MASKS
    assert report(record_property, "out", scores[:, :, ::8, ::8], golden[f"out_{side}_s8"]) <= SCORES


@pytest.mark.slow
def test_slide(method, noise, goldens, record_property):
    """Two overlapping windows, their scores averaged, resized to the original image's size."""
    golden = load(goldens, "slide_512x683")
    image = noise(1, 3, 512, 683)
    total, count = torch.zeros(1, 20, 512, 683), torch.zeros(683)
    with torch.inference_mode():
        for left in (0, 171):
            masks = method.predict(image[..., left : left + 512])
            total[..., left : left + 512] += scores_of(method, masks, (512, 512))
            count[left : left + 512] += 1
    scores = total / count
    rescaled = F.interpolate(scores, (375, 500), mode="bilinear", align_corners=False)
    assert report(record_property, "slide", scores[:, :, ::8, ::8], golden["slide_s8"]) <= SCORES
    assert report(record_property, "rescaled", rescaled[:, :, ::8, ::8], golden["slide_rescaled_s8"]) <= SCORES
    wrong = (rescaled[0].argmax(0).numpy() != golden["pred_375x500"]).sum()
    record_property("argmax", int(wrong))
    assert wrong <= 2


def test_after_self_training(released_method, goldens, record_property):
    """A model trained with unseen classes's scores have no calibration: the release's transductive evaluation."""
    golden = load(goldens, "extra_transductive_eval_b1")
    method = released_method()
    method.knows_unseen.fill_(True)
    masks = torch.from_numpy(load(goldens, "inductive_b1")["masks"][2])
    scores = scores_of(method, masks, (512, 512))
    assert report(record_property, "out", scores[:, :, ::8, ::8], golden["out_s8"]) <= SCORES
    assert (scores[:, :, ::2, ::2].argmax(1).numpy() != golden["argmax_s2"]).sum() <= 2


@pytest.mark.slow
@pytest.mark.parametrize(("dpt", "golden"), [("off", "extra_noprompt_b1"), ("shallow", "extra_shallow_b1")])
def test_other_prompting(released_method, noise, goldens, record_property, dpt, golden):
    expected = load(goldens, golden)
    method = released_method(dpt=dpt)
    with torch.inference_mode():
        images = noise(1, 3, 512, 512)
        image, _ = method.encoder(images)
        masks = method.predict(images)
    scores = scores_of(method, masks, (512, 512))
    assert report(record_property, "global", image, expected["global_embedding"]) <= EMBEDDINGS
    assert report(record_property, "masks", masks, expected["mask_last"]) <= MASKS
    assert report(record_property, "out", scores[:, :, ::8, ::8], expected["out_s8"]) <= SCORES


def original_labels(batch):
    """The reference label map int64 (batch, 512, 512): PASCAL VOC's ids from 0, and 255 for void."""
    labels = np.random.RandomState(1).randint(0, 22, (2, 4, 4))
    labels[labels >= 20] = 255
    return torch.from_numpy(np.kron(labels, np.ones((128, 128), np.int64)))[:batch]


def view(labels, setting):
    """What the protocol shows a method of `labels` in a setting."""
    hidden = IGNORE if setting == "inductive" else UNLABELLED
    return torch.where(labels == 255, IGNORE, torch.where(labels >= 15, hidden, labels))


@pytest.fixture
def trained(released_method):
    """Builds the method in train mode with its dropout off, and computes the losses of a setting."""

    def losses(setting, images, labels, **options):
        method = released_method(15 if setting == "inductive" else 20, prompt_dropout=0, dropout=0, **options)
        return method, method.train().losses(images, view(labels, setting))

    return losses


@pytest.mark.parametrize("setting", ["inductive", pytest.param("transductive", marks=pytest.mark.slow)])
@pytest.mark.parametrize("batch", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_losses(trained, noise, goldens, record_property, setting, batch):
    """Both losses, and those of deep supervision, which the release builds but never runs."""
    golden = load(goldens, "losses")
    with torch.no_grad():
        _, losses = trained(setting, noise(batch, 3, 512, 512), original_labels(batch), deep_supervision=True)
    case = f"{setting}_B{batch}"
    expected = {name: golden[f"{case}/decode.loss_{name}"] for name in ("mask", "dice")}
    expected |= {
        f"{name}_{layer}": golden[f"{case}/extra_aux/loss_{name}_{layer}"] for name in expected for layer in (0, 1)
    }
    assert losses.values.keys() == expected.keys()
    for name, value in expected.items():
        error = abs(losses.values[name].item() / float(value) - 1)
        record_property(name, error)
        assert error <= LOSSES, name
    assert losses.terms == sum(json.loads((goldens / "losses.json").read_text())[case]["n_gt"])


@pytest.mark.slow
@pytest.mark.parametrize("setting", ["inductive", "transductive"])
def test_gradients(trained, noise, goldens, record_property, setting):
    golden, norms = load(goldens, "losses"), json.loads((goldens / "losses.json").read_text())
    method, losses = trained(setting, noise(1, 3, 512, 512), original_labels(1), idle_parameters=True)
    losses.total.backward()
    prompts = method.encoder.prompts
    ours = {
        "backbone.prompt_norm.weight": prompts.norm.weight.grad,
        "backbone.prompt_norm.bias": prompts.norm.bias.grad,
        "backbone.prompt_proj.bias": prompts.projection.bias.grad,
        "backbone.prompt_embeddings_s8": prompts.embeddings.grad[:1, :, ::8],
        "backbone.deep_prompt_embeddings_s16": prompts.embeddings.grad[1:, :, ::16],
        "decode_head.q_proj.bias": method.descriptor.projection.bias.grad,
        "decode_head.decoder_1.layers.2.multihead_attn.q.bias": method.decoder.layers[2].attention.q.bias.grad,
    }
    for name, gradient in ours.items():
        expected = golden[f"{setting}_B1/grad/{name}"]
        error = report(record_property, name, gradient, expected) / np.abs(expected).max()
        assert error <= 1e-4, name
    check_norms(method, norms[f"{setting}_B1"]["grad_norm"])


def check_norms(method, norms):
    """Every learnable parameter's gradient norm is the release's, and absent where the release has none."""
    for name, parameter in method.named_parameters():
        keys = released_names(name)
        if not parameter.requires_grad or len(keys) > 1:
            continue
        expected = norms[keys[0]]
        if expected is None:
            assert parameter.grad is None, name
        else:  # keys' biases shift every score alike: their gradient is rounding in the inner layers
            assert parameter.grad.norm().item() == pytest.approx(expected, rel=1e-3, abs=1e-3), name


def test_pseudo_labels(method, forward, goldens):
    """Where unseen classes are, the best unseen class of the present prediction."""
    golden = load(goldens, "losses")
    labels = pseudo_labels(forward(1)["masks"][-1], view(original_labels(1), "transductive"), method.vocabulary.seen)
    expected = golden["transductive_B1/label_after_s4"].astype(np.int64)
    assert (torch.where(labels < 0, 255, labels)[:, ::4, ::4].numpy() != expected).sum() <= 2
