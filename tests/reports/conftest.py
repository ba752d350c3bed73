"""Runs of two classes, for reports on several of them."""

from __future__ import annotations

import numpy as np
import pytest

from zsbench.metrics.fingerprint import labels_fingerprint
from zsbench.metrics.records import Records
from zsbench.metrics.scores import Counts
from zsbench.utils.files import make_folder


@pytest.fixture
def run(make_result, tmp_path):
    """The folder of a run that has `right` (N, 2) of 100 pixels right of each class that is `labelled`, and takes the rest
    for the other."""

    def call(name, right, ids=None, method=(), dataset=(), labelled=(0, 1), **changes):
        rows = [
            np.array([[c, p, n] for c in labelled for p, n in ((c, hits[c]), (1 - c, 100 - hits[c])) if n])
            for hits in right
        ]
        records = Records.of(ids or [f"image{number:03d}" for number in range(len(rows))], rows)
        about = {"images": len(rows), "labels_sha256": labels_fingerprint(records), **dict(dataset)}
        base = make_result(counts=Counts.of(records, 2), records_sha256=records.sha256())
        parts = {"method": {"name": name, **dict(method)}, "dataset": about}
        parts = {part: {**getattr(base, part).model_dump(), **values} for part, values in parts.items()}
        folder = make_folder(tmp_path / f"{name}{changes.get('seed', '')}")
        result = make_result(counts=Counts.of(records, 2), records_sha256=records.sha256(), **parts, **changes)
        result.save(folder / "result.json")
        records.save(folder / "records.npz")
        return folder

    return call
