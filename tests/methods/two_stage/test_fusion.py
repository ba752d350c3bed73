"""Fusion and the semantic map against a plain NumPy statement."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zsbench.methods.two_stage.fusion import semantic_map, zegformer_scores, zsseg_scores

QUERIES, CLASSES = 4, 5


def softmax(row):
    exponent = np.exp(row - row.max())
    return exponent / exponent.sum()


def draws(seed):
    rng = np.random.default_rng(seed)
    return (
        3 * rng.normal(size=(QUERIES, CLASSES + 1)),
        3 * rng.normal(size=(QUERIES, CLASSES)),
        rng.random(CLASSES) < 0.5,
    )


def plain_zegformer(query, clip, seen, how):
    scores = np.zeros((QUERIES, CLASSES))
    for q in range(QUERIES):
        p = softmax(query[q])
        c = softmax(np.append(clip[q], query[q, -1]))
        mean = c[:-1][seen].mean() if seen.any() else 0
        for k in range(CLASSES):
            if how == "clip":
                scores[q, k] = c[k]
            elif how == "query":
                scores[q, k] = p[k]
            elif how == "ensemble-all":
                scores[q, k] = p[k] ** (1 / 3) * c[k] ** (2 / 3)
            elif seen[k]:
                scores[q, k] = p[k] ** (2 / 3) * mean ** (1 / 3)
            else:
                scores[q, k] = p[k] ** (1 / 3) * c[k] ** (2 / 3)
    return scores


@given(st.integers(0, 999), st.sampled_from(["ensemble", "ensemble-all", "clip", "query"]))
@settings(deadline=None, max_examples=40)
def test_zegformer_fusion(seed, how):
    query, clip, seen = draws(seed)
    scores = zegformer_scores(torch.from_numpy(query), torch.from_numpy(clip), torch.from_numpy(seen), how)
    np.testing.assert_allclose(scores, plain_zegformer(query, clip, seen, how), rtol=1e-6)


@given(st.integers(0, 999), st.sampled_from([0.0, 0.4, 0.7, 0.8]))
@settings(deadline=None, max_examples=40)
def test_zsseg_fusion(seed, weight):
    query, clip, seen = draws(seed)
    valid = np.array([True, False, True, True])
    scores = zsseg_scores(*map(torch.from_numpy, (query, clip[valid], valid, seen)), weight)
    for q in range(QUERIES):
        p = softmax(query[q])[:-1]
        c = softmax(clip[q]) if valid[q] else np.ones(CLASSES)
        share = np.where(seen, weight, 1 - weight)
        expected = p**share * c ** (1 - share) if weight > 0 else c * valid[q]
        np.testing.assert_allclose(scores[q], expected, rtol=1e-6)


def test_without_queries_clip_decides_alone():
    _, clip, seen = draws(0)
    logits, flags = torch.from_numpy(clip), torch.from_numpy(seen)
    torch.testing.assert_close(zegformer_scores(None, logits, flags), logits.softmax(-1))
    torch.testing.assert_close(zsseg_scores(None, logits, torch.ones(QUERIES).bool(), flags, 0.7), logits.softmax(-1))
    with pytest.raises(ValueError, match="neither"):
        zegformer_scores(None, None, flags)


def test_semantic_map_is_a_sum_over_proposals():
    rng = np.random.default_rng(0)
    scores, masks = rng.random((QUERIES, CLASSES)), rng.random((QUERIES, 3, 2))
    expected = sum(scores[q][:, None, None] * masks[q] for q in range(QUERIES))
    np.testing.assert_allclose(semantic_map(torch.from_numpy(scores), torch.from_numpy(masks)), expected)
    assert semantic_map(torch.zeros(0, CLASSES), torch.zeros(0, 3, 2)).shape == (CLASSES, 3, 2)
