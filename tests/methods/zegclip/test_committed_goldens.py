"""The released model's outputs and losses, from the same weights and input: what every clone can check."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from zsbench.dataset import IGNORE

MASKS, SCORES, EMBEDDINGS, LOSSES = 5e-5, 1e-5, 1e-6, 1e-5
"""Absolute tolerances, of losses a relative one: several times what changes with the number of threads."""


def assert_near(ours, reference, tolerance):
    np.testing.assert_allclose(ours, reference, atol=tolerance, rtol=0)


def test_a_whole_forward_pass(released_method, noise, goldens):
    """At 384 px, which the release scores at its own 512 x 512 before it resizes the scores."""
    golden, method = np.load(goldens / "voc_384.npz"), released_method()
    with torch.inference_mode():
        images = noise(1, 3, 384, 384)
        image, _ = method.encoder(images)
        masks = method.predict(images)
        scores = method.score(F.interpolate(masks, (512, 512), mode="bilinear", align_corners=False), slice(None))
        scores = F.interpolate(scores, (384, 384), mode="bilinear", align_corners=False)
    assert_near(image, golden["global_embedding"], EMBEDDINGS)
    assert_near(masks, golden["masks"], MASKS)
    assert_near(scores[:, :, ::16, ::16], golden["out_s16"], SCORES)


def test_inductive_losses(released_method, noise, goldens):
    """Seen classes 0..14 in squares of 128 px; unseen ones and void are ignored."""
    golden, method = np.load(goldens / "voc_losses.npz"), released_method(15, prompt_dropout=0, dropout=0)
    squares = np.random.RandomState(1).randint(0, 22, (2, 4, 4))[:1]
    labels = torch.from_numpy(np.kron(np.where(squares < 15, squares, IGNORE), np.ones((128, 128), np.int64)))
    with torch.no_grad():
        losses = method.train().losses(noise(1, 3, 512, 512), labels)
    assert {name: loss.item() for name, loss in losses.values.items()} == {
        name: pytest.approx(float(golden[f"loss_{name}"]), rel=LOSSES) for name in ("mask", "dice")
    }
