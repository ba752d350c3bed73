"""What a result says of its records."""

from __future__ import annotations

import hashlib
import json

import numpy as np

from zsbench.metrics.counts import count
from zsbench.metrics.records import Records
from zsbench.runs.aggregate import labels_fingerprint


def test_the_fingerprint_of_the_labels_knows_the_labels_alone() -> None:
    """It stands in committed results: the hash of (image id, class, pixels of the class), whoever predicted what."""
    rng = np.random.default_rng(0)
    labels = {image_id: rng.integers(-1, 5, (8, 8)) for image_id in ("b", "a", "c")}
    rows = [
        [image_id, cls, int((labels[image_id] == cls).sum())]
        for image_id in sorted(labels)
        for cls in range(5)
        if (labels[image_id] == cls).any()
    ]
    expected = hashlib.sha256(json.dumps(rows).encode()).hexdigest()
    for _ in range(3):
        counted = [count(label, rng.integers(-1, 5, (8, 8)), 5) for label in labels.values()]
        records = Records.of(list(labels), counted)
        assert labels_fingerprint(records) == expected
    labels["a"][0, 0] = (labels["a"][0, 0] + 1) % 5
    changed = Records.of(list(labels), [count(label, label, 5) for label in labels.values()])
    assert labels_fingerprint(changed) != expected
