"""The metrics, as pure functions of pixel counts.

With tp, pred, gt the pixels of a class that are right, predicted and true, summed over the *whole dataset*
first:

| name   | definition                                     | source |
|--------|------------------------------------------------|--------|
| IoU    | tp / (gt + pred - tp)                          | Everingham et al., IJCV 2010 ("PASCAL VOC") |
| Acc    | tp / gt                                        | Long et al., CVPR 2015 ("FCN"), section 5 |
| Dice   | 2 tp / (gt + pred)                             | mmseg `IoUMetric`, after Dice, Ecology 1945 |
| pAcc   | sum tp / sum gt                                | FCN, "pixel accuracy" |
| mAcc   | mean of Acc over classes                       | FCN, "mean accuracy" |
| mIoU   | mean of IoU over classes                       | FCN, "mean IU" |
| fwIoU  | sum gt IoU / sum gt                            | FCN, "frequency weighted IU" |
| mDice  | mean of Dice over classes                      | mmseg `IoUMetric`, "mDice" |
| mIoU_S | mean of IoU over seen classes                  | Xian et al., CVPR 2019 ("SPNet"), generalised |
| mIoU_U | mean of IoU over unseen classes                | SPNet |
| hIoU   | 2 S U / (S + U) of the two means, unrounded    | SPNet, "harmonic mean" |

S and U come from *one* prediction over all classes. All values are percentages, 0..100, never rounded.

Which classes a mean is over is a convention (`Convention`). A class that is neither present nor predicted has
no IoU:

- `union` (the default; mmseg `IoUMetric`, a NaN-mean): it is left out. A class predicted but absent has IoU 0
  and counts.
- `absent=0`: it counts as 0; the mean is over all classes.
- `gt-present` (detectron2 `SemSegEvaluator` of today; older copies of it in other releases are `union`): the
  mean is over the classes present in the labels, so predicting an absent class costs only the class it was
  taken from. detectron2 also drops abstained pixels from gt, which rewards abstaining; here they stay, under
  every convention.

pAcc and fwIoU are the same under all three.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, overload

import numpy as np
from numpy.typing import NDArray

from zsbench.errors import UserError, did_you_mean
from zsbench.metrics.records import Records

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

Convention = Literal["union", "absent=0", "gt-present"]
"""Over which classes a mean is taken; see the module's text."""

CONVENTIONS: tuple[Convention, ...] = get_args(Convention)

METRICS = ("pAcc", "mAcc", "mIoU", "mIoU_S", "mIoU_U", "hIoU", "fwIoU", "mDice")
"""The names that `summary` always gives, in its order."""


@dataclass(frozen=True, eq=False)
class Counts:
    """Pixels of each class over a dataset: `tp` right, `pred` predicted, `gt` true. int64 (C,).

    Leading axes are allowed, (..., C), and every function here keeps them: many datasets, or replicates, at
    once.
    """

    tp: NDArray[np.int64]
    pred: NDArray[np.int64]
    gt: NDArray[np.int64]

    @classmethod
    def of(cls, records: Records, num_classes: int) -> Counts:
        """Exact integer sums over all images; raises `UserError` for a class outside 0..num_classes-1."""
        return cls(*records.class_counts().total(num_classes))


def iou(counts: Counts, convention: Convention = "union") -> Floats:
    """float64 (..., C) percent, tp / (gt + pred - tp); NaN where the convention leaves the class out."""
    return _percent(counts.tp, counts.gt + counts.pred - counts.tp, counts, convention)


def accuracy(counts: Counts, convention: Convention = "union") -> Floats:
    """float64 (..., C) percent, tp / gt; NaN for a class that is not in the labels, or 0 under `absent=0`."""
    return _percent(counts.tp, counts.gt, counts, convention)


def dice(counts: Counts, convention: Convention = "union") -> Floats:
    """float64 (..., C) percent, 2 tp / (gt + pred); NaN where the convention leaves the class out."""
    return _percent(2 * counts.tp, counts.gt + counts.pred, counts, convention)


@overload
def hiou(s: float, u: float) -> float: ...
@overload
def hiou(s: Floats, u: Floats) -> Floats: ...
def hiou(s: float | Floats, u: float | Floats) -> float | Floats:
    """Harmonic mean 2 s u / (s + u) of seen and unseen mIoU, in percent.

    0 where s + u is 0, NaN where either is NaN.
    """
    total = np.asarray(s + u)
    harmonic = np.zeros(total.shape)
    np.divide(2 * s * u, total, out=harmonic, where=total != 0)
    return harmonic if harmonic.ndim else float(harmonic)


def summary(
    counts: Counts, seen: Mask, groups: Mapping[str, Mask] | None = None, convention: Convention = "union"
) -> dict[str, float]:
    """The metrics of one dataset in percent: the keys of `METRICS`, then each group's name with its mIoU.

    `counts`: of shape (C,). `seen`: bool (C,). `groups`: bool (C,) by name. A mean over no classes is NaN; so
    without unseen classes mIoU_U and hIoU are NaN. Raises `UserError` for a group named like a metric.
    """
    return {name: float(value) for name, value in summaries(counts, seen, groups, convention).items()}


def summaries(
    counts: Counts, seen: Mask, groups: Mapping[str, Mask] | None = None, convention: Convention = "union"
) -> dict[str, Floats]:
    """`summary` with the leading axes of `counts` kept: float64 (...) under each name."""
    per_class = iou(counts, convention)
    sets = _class_sets(seen, groups)
    means = {name: _mean(per_class[..., members]) for name, members in sets.items()}
    values = {
        "pAcc": _ratio(counts.tp.sum(axis=-1), counts.gt.sum(axis=-1)),
        "mAcc": _mean(accuracy(counts, convention)),
        "hIoU": np.asarray(hiou(means["mIoU_S"], means["mIoU_U"])),
        "fwIoU": _frequency_weighted(counts),
        "mDice": _mean(dice(counts, convention)),
        **means,
    }
    return {name: values[name] for name in dict.fromkeys((*METRICS, *sets))}


def scored(
    counts: Counts, seen: Mask, groups: Mapping[str, Mask] | None = None, convention: Convention = "union"
) -> dict[str, int]:
    """How many classes `mIoU`, `mIoU_S`, `mIoU_U` and every group are means over. `counts`: (C,)."""
    present = ~np.isnan(iou(counts, convention))
    return {name: int(np.count_nonzero(present[members])) for name, members in _class_sets(seen, groups).items()}


def _class_sets(seen: Mask, groups: Mapping[str, Mask] | None) -> dict[str, Mask]:
    """The sets of classes whose mean IoU is reported, as bool (C,), by the name it is reported under."""
    seen = np.asarray(seen, dtype=np.bool_)
    named = {name: np.asarray(members, dtype=np.bool_) for name, members in (groups or {}).items()}
    taken = sorted(set(named).intersection(METRICS))
    if taken:
        raise UserError(f"the group of classes {taken[0]!r} is named like a metric; choose another name.")
    return {"mIoU": np.ones_like(seen), "mIoU_S": seen, "mIoU_U": ~seen, **named}


def _percent(part: NDArray[np.int64], whole: NDArray[np.int64], counts: Counts, convention: Convention) -> Floats:
    values = _ratio(part, whole)
    if convention == "union":
        return values
    if convention == "absent=0":
        return np.where(whole > 0, values, 0.0)
    if convention == "gt-present":
        return np.where(counts.gt > 0, values, np.nan)
    raise UserError(
        f"unknown convention {convention!r}; one of {', '.join(CONVENTIONS)}." + did_you_mean(convention, CONVENTIONS)
    )


def _ratio(part: NDArray[Any], whole: NDArray[np.int64]) -> Floats:
    """100 part / whole, NaN where whole is 0."""
    whole = np.asarray(whole)
    ratio = np.full(whole.shape, np.nan)
    np.divide(100.0 * part, whole, out=ratio, where=whole > 0)
    return ratio


def _mean(values: Floats) -> Floats:
    """Mean over the last axis of what is not NaN; NaN where nothing is left."""
    present = ~np.isnan(values)
    total = np.asarray(np.where(present, values, 0.0).sum(axis=-1))
    number = np.asarray(present.sum(axis=-1))
    mean = np.full(number.shape, np.nan)
    np.divide(total, number, out=mean, where=number > 0)
    return mean


def _frequency_weighted(counts: Counts) -> Floats:
    union = counts.gt + counts.pred - counts.tp
    weighted = np.zeros(union.shape)
    np.divide(1.0 * counts.gt * counts.tp, union, out=weighted, where=union > 0)
    return _ratio(weighted.sum(axis=-1), counts.gt.sum(axis=-1))
