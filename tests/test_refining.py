"""Refinement by the image: propagation against the released code, and what it promises whatever the image."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from training_free import golden, rules

from zsbench.refining import Pamr


@pytest.mark.parametrize(("run", "pamr"), [("10_8_16", Pamr()), ("50_many", Pamr(50, (1, 2, 4, 8, 12, 24)))])
def test_propagation_is_the_released_one(run: str, pamr: Pamr) -> None:
    image = torch.from_numpy(rules().image(60, 83, "pamr"))
    scores = torch.from_numpy(rules().mask("pamr", (1, 5, 60, 83)))[0]
    found = pamr.refine(scores, pamr.affinities(image))
    np.testing.assert_allclose(found.numpy(), golden("training-free/pamr.npz")[run], atol=5e-5)


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 1000))
@settings(deadline=None, max_examples=30)
def test_scores_are_averaged_class_by_class(height: int, width: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    image, scores = (
        torch.rand(3, height, width, generator=generator),
        torch.randn(4, height, width, generator=generator),
    )
    pamr = Pamr(3, (1, 2))
    affinities = pamr.affinities(image)
    torch.testing.assert_close(affinities.sum(0), torch.ones(height, width))
    found = pamr.refine(scores, affinities)
    assert found.min() >= scores.min() - 1e-5 and found.max() <= scores.max() + 1e-5
    torch.testing.assert_close(torch.cat([pamr.refine(part, affinities) for part in scores.split(1)]), found)
    scaled = pamr.affinities(7 * image + 3)  # the image's units do not matter
    torch.testing.assert_close(scaled, affinities, atol=1e-3, rtol=0)
