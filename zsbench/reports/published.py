"""What papers report: `leaderboards/published.csv`, read and looked up, never mixed with what was measured."""

from __future__ import annotations

import csv
import io
from decimal import Decimal
from pathlib import Path

from zsbench.errors import UserError
from zsbench.utils.files import read_text

PublishedRow = dict[str, str]
"""A row as printed. `correction` (`mIoU_S=35.5`) and `reason` stand beside the numbers and change none of them. `status` is
`unverified` where nobody could check the source. `command` measures the row; its file names stand for a user's own."""
COLLECTION = Path(__file__).parent.parent / "leaderboards" / "published.csv"
NUMBERS = ("pAcc", "mIoU", "mIoU_S", "mIoU_U", "hIoU")
COLUMNS = ("dataset_id", "method_id", "variant_id", "method", "setting", "backbone", *NUMBERS, "source")
COSTS = ("params_M", "flops_G", "fps")
UNVERIFIED = "unverified"
NEEDED = "dataset_id"
"""The one column that a collection cannot do without; others may be left out."""


def read_published(path: Path = COLLECTION, unverified: bool = False) -> list[PublishedRow]:
    """Rows of the collection, of the unverified sources alone if `unverified`, else without them; none where the file is
    absent. Raises `UserError` naming the line that is none of it."""
    if not path.exists():
        return []
    rows = csv.DictReader(io.StringIO(read_text(path, "collection of published numbers"), newline=""), strict=True)
    try:
        found = [checked(row, f"{path}, line {rows.line_num}") for row in rows]
    except csv.Error as error:
        raise UserError(f"{path}, line {rows.line_num}: not readable as CSV ({error}).") from None
    return [row for row in found if (row.get("status") == UNVERIFIED) == unverified]


def checked(row: dict[str | None, str | None], place: str) -> PublishedRow:
    found = {name: text for name, text in row.items() if name is not None and text is not None}
    if len(found) < len(row) or NEEDED not in found:
        wrong = "more or fewer cells than columns" if len(found) < len(row) else f"no column {NEEDED}"
        raise UserError(f"{place}: {wrong}; expected the columns {', '.join((*COLUMNS, *COSTS))}.")
    for name in (name for name in (*NUMBERS, *COSTS) if found.get(name)):
        try:
            finite = Decimal(found[name]).is_finite()
        except ArithmeticError:
            finite = False
        if not finite:
            raise UserError(f"{place}: {name} is {found[name]!r}; expected a number, or nothing.")
    return dict.fromkeys(COLUMNS, "") | found


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


def remark(row: PublishedRow) -> str:
    """What is wrong with a row's numbers, by arithmetic and by what is known; empty where nothing is."""
    parts = [] if hiou_follows(row) else ["hIoU does not follow from S and U"]
    if row.get("correction"):
        parts.append("corrected: " + row["correction"])
    return "; ".join([*parts, *filter(None, [row.get("reason")])])


def harmonic(one: Decimal, other: Decimal) -> Decimal:
    return 2 * one * other / (one + other) if one + other else Decimal(0)
