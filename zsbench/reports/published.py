"""What papers report: `leaderboards/published.csv`, read and looked up, never mixed with what was measured."""

from __future__ import annotations

import csv
from pathlib import Path

PublishedRow = dict[str, str]
COLLECTION = Path(__file__).parent.parent / "leaderboards" / "published.csv"
NUMBERS = ("pAcc", "mIoU", "mIoU_S", "mIoU_U", "hIoU")


def read_published(path: Path = COLLECTION) -> list[PublishedRow]:
    """Rows of the collection; none where the file is absent."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def reported(
    dataset: str, method: str, variant: str | None, setting: str, rows: list[PublishedRow]
) -> dict[str, float]:
    """The percentages printed for a method (or a variant of it) on a dataset; empty where no paper prints any."""
    wanted = (dataset, method, variant or "", setting)
    for row in rows:
        if (row["dataset_id"], row["method_id"], row["variant_id"], row["setting"]) == wanted:
            return {name: float(row[name]) for name in NUMBERS if row[name]}
    return {}
