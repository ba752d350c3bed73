"""SC-CLIP's outlying patches and what stands in for them, against loops."""

import numpy as np
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from zsbench.methods.training_free.outliers import filled, outliers


@given(st.integers(0, 10_000), st.integers(20, 60), st.integers(2, 12), st.sampled_from([0, 1000]))
@settings(deadline=None, max_examples=40)
def test_outliers_are_those_of_a_loop(seed: int, patches: int, neighbours: int, shared: int) -> None:
    """Also where all patches have much in common, as in the late blocks of a CLIP."""
    assume((patches - 1) % 20)  # else the quantile is one of the factors, and rounding decides
    features = np.random.default_rng(seed).standard_normal((patches, 8))
    features[:, 0] += shared
    features = features.astype(np.float32).astype(np.float64)
    squared = ((features[:, None] - features) ** 2).sum(-1)
    order = squared.argsort(1)[:, 1 : neighbours + 1]
    density = neighbours / np.array([squared[i, order[i, -1]] for i in range(patches)])
    factor = np.array([density[order[i]].mean() / density[i] for i in range(patches)])
    found = outliers(torch.from_numpy(features)[None], neighbours, 0.95)[0].numpy()
    assert (found == (factor > np.quantile(factor, 0.95))).all()
    assert found.sum() <= patches - np.ceil(0.95 * (patches - 1)).astype(int)  # fewer where two have the same factor


def test_a_flat_image_has_no_outliers() -> None:
    assert not outliers(torch.ones(2, 50, 8), 30, 0.95).any()
    assert outliers(torch.randn(1, 5, 8), 30, 0.5).sum() <= 3  # fewer patches than neighbours


def test_an_outlier_becomes_the_mean_of_its_good_neighbours() -> None:
    patches = torch.arange(12.0).view(1, 12, 1).expand(-1, -1, 2)  # 3 rows of 4
    outlying = torch.zeros(1, 12, dtype=torch.bool)
    outlying[0, [0, 5]] = True
    found = filled(patches, (3, 4), outlying)[0, :, 0]
    assert found[0] == (1 + 4) / 2  # the corner; its third neighbour is an outlier
    torch.testing.assert_close(found[5], torch.tensor((1 + 2 + 4 + 6 + 8 + 9 + 10) / 7))
    rest = ~outlying[0]
    assert torch.equal(found[rest], patches[0, rest, 0])
    everywhere = torch.ones(1, 12, dtype=torch.bool)
    assert torch.equal(filled(patches, (3, 4), everywhere), patches)
