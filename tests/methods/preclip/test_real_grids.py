"""`--protocol as-released` on real photographs: what is scored are the cells, or the resized image, of the release."""

from __future__ import annotations

from pathlib import Path

import pytest

import zsbench

from .test_real_training import real_words

SMALL = {"backbone": "miniature", "norm": "batch"}
STEP = {"iterations": "1", "batch_size": "2", "crop": "41", "short_side": "41", "workers": "0"}
LIMIT = 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "grid", "most"),
    [("spnet", "image", 513 * 513), ("cagnet", 65, 65 * 65), ("sign", 65, 65 * 65), ("zs3", "image", 513 * 770)],
)
def test_what_is_scored_is_the_grid_of_the_release(
    method: str, grid: int | str, most: int, shared: Path, tmp_path: Path
) -> None:
    """`most`: pixels of an image that can be scored; VOC's longest sides are 3/2 of the short ones."""
    result = zsbench.run(
        method,
        "pascal-voc",
        data_root=shared / "data" / "voc2012",
        words=real_words(shared, 300 if method == "zs3" else 600, tmp_path / "words.npz"),
        options=SMALL,
        recipe=STEP,
        limit=LIMIT,
        protocol="as-released",
        out=tmp_path / "run",
    )
    scored = sum(row.gt for row in result.per_class)
    assert result.protocol["grid"] == grid and 0 < scored <= LIMIT * most
    assert 0 <= result.metrics["pAcc"].value <= 100
