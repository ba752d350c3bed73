"""What papers report: `leaderboards/published.csv`, read and looked up, never mixed with what was measured."""

from __future__ import annotations

import csv
import io
import re
from decimal import Decimal
from pathlib import Path

from zsbench.errors import UserError
from zsbench.utils.files import read_text

PublishedRow = dict[str, str]
"""A row as printed. `correction` (`mIoU_S=35.5`) and `reason` stand beside the numbers and change none of them."""
COLLECTION = Path(__file__).parent.parent / "leaderboards" / "published.csv"
NUMBERS = ("pAcc", "mIoU", "mIoU_S", "mIoU_U", "hIoU")
COSTS = ("params_M", "flops_G", "fps")
COLUMNS = ("dataset_id", "method_id", "variant_id", "method", "setting", "backbone", "source")
NUMBER = re.compile(r"[0-9]{1,6}(\.[0-9]{1,10})?")


def read_published(path: Path = COLLECTION) -> list[PublishedRow]:
    """Rows of the collection; none where the file is absent. Raises `UserError` for any other table."""
    if not path.exists():
        return []
    what = "table of published numbers"
    try:
        rows = list(csv.DictReader(io.StringIO(read_text(path, what), newline=""), strict=True))
        for number, row in enumerate(rows, 1):
            if None in row or None in row.values() or COLUMNS[0] not in row:
                raise ValueError(f"row {number} has not the columns of the first line, or this lacks {COLUMNS[0]}")
            wrong = [name for name in (*NUMBERS, *COSTS) if row.get(name) and not NUMBER.fullmatch(row[name])]
            if wrong:
                raise ValueError(f"row {number}: {wrong[0]}: {row[wrong[0]]!r} is no number as one prints it")
    except (csv.Error, ValueError) as error:
        raise UserError(f"{path}: no {what}: {error}.") from None
    return [dict.fromkeys((*COLUMNS, *NUMBERS), "") | row for row in rows]


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
