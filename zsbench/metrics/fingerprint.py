"""Whether two runs were measured on the same ground truth."""

from __future__ import annotations

import hashlib
import json

from zsbench.metrics.records import Records


def labels_fingerprint(records: Records) -> str:
    """Hash of the ground truth as the records saw it: `(image id, class, gt)` where gt > 0."""
    ordered = records.sorted()
    counts = ordered.class_counts()
    present = counts.gt > 0
    columns = (ordered.ids[counts.image[present]], counts.cls[present], counts.gt[present])
    rows = list(zip(*(column.tolist() for column in columns), strict=True))
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()
