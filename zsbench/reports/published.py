"""What papers report: `leaderboards/published.csv`, read and looked up, never mixed with what was measured."""

from __future__ import annotations

import csv
from decimal import Decimal
from pathlib import Path

PublishedRow = dict[str, str]
"""A row as printed. `correction` (`mIoU_S=35.5`) and `reason` stand beside the numbers and change none of them."""
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


def hiou_follows(row: PublishedRow) -> bool:
    """Whether the printed hIoU can be that of numbers which round to the printed S and U; True where one is not printed."""
    printed = [Decimal(row[name]) for name in ("mIoU_S", "mIoU_U", "hIoU") if row[name]]
    if len(printed) < 3:
        return True
    halves = [Decimal(5).scaleb(int(number.as_tuple().exponent) - 1) for number in printed]
    (low_s, low_u, low_h), (high_s, high_u, high_h) = (
        [number + sign * half for number, half in zip(printed, halves, strict=True)] for sign in (-1, 1)
    )
    return harmonic(max(low_s, Decimal(0)), max(low_u, Decimal(0))) <= high_h and low_h <= harmonic(high_s, high_u)


def harmonic(one: Decimal, other: Decimal) -> Decimal:
    return 2 * one * other / (one + other) if one + other else Decimal(0)
