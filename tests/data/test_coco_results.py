"""Proposal files: what another program wrote is decoded as it is, or refused by the number of the entry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zsbench.data.coco_results import read_proposals, write_proposals
from zsbench.errors import UserError


def write(path: Path, *segmentations: Any) -> Path:
    path.write_text(json.dumps([{"image_id": "x", "segmentation": each} for each in segmentations]))
    return path


@pytest.mark.parametrize("counts", ["zzzz", "PPP", "", "1", "\u00e9", [36], [35, -1, 1], [1.5, 33.5], None, 7])
def test_runs_that_do_not_fill_the_image_are_refused(tmp_path: Path, counts: Any) -> None:
    """pycocotools decodes such strings to uninitialised memory."""
    path = write(tmp_path / "p.json", {"size": [5, 7], "counts": [35]}, {"size": [5, 7], "counts": counts})
    with pytest.raises(UserError, match=r"p\.json, entry 1: expected"):
        read_proposals(path)


@pytest.mark.parametrize(
    "size", [[5], [5, 7, 1], "57", [5, "7"], [0, 35], [-5, -7], [1e9, 1e9], [float("nan"), 7], None, 5]
)
def test_sizes_that_no_image_has_are_refused(tmp_path: Path, size: Any) -> None:
    with pytest.raises(UserError, match=r"p\.json, entry 0: expected"):
        read_proposals(write(tmp_path / "p.json", {"size": size, "counts": [35]}))


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.one_of(st.text(st.characters(codec="ascii"), max_size=12), st.lists(st.integers(-2, 40), max_size=5)))
def test_no_counts_reach_beyond_the_image(tmp_path: Path, text: Any) -> None:
    try:
        found = read_proposals(write(tmp_path / "p.json", {"size": [5, 7], "counts": text}))
    except UserError:
        return
    assert found["x"].masks().shape == (1, 5, 7)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    masks = np.random.default_rng(0).random((3, 12, 20)) > 0.5
    write_proposals(tmp_path / "p.json", [("a", masks, [1.0, 0.5, 0.1])])
    assert np.array_equal(read_proposals(tmp_path / "p.json")["a"].masks().numpy(), masks)


@pytest.mark.parametrize("text", ["[" * 100_000, "{", "\ud800", ""])
def test_what_is_no_json_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "p.json").write_text(text, encoding="utf-8", errors="surrogatepass")
    with pytest.raises(UserError, match=r"p\.json: not a readable file of COCO results"):
        read_proposals(tmp_path / "p.json")
