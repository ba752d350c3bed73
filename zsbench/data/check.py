"""`zsbench data check`: prove that the data are right before a GPU hour is spent on them.

Counts and pairs are checked for all images; sizes, values and statistics by decoding a sample, or everything.
"""

from __future__ import annotations

import functools
import hashlib
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zsbench.data import FolderDataset, Reference
from zsbench.data.image import UPRIGHT, exif_orientation
from zsbench.dataset import IGNORE
from zsbench.errors import UserError
from zsbench.utils.parallel import parallel_map
from zsbench.utils.progress import Progress, silent

FAR = 5.0
"""Standard errors from which on a class is said to occur too often or too rarely."""
MIN_IMAGES = 30
"""Fewer images than this say nothing about statistics."""
SHIFT_GAIN = 0.3
"""By how much a shifted correlation with the published counts must be the better one."""


@dataclass(frozen=True, eq=False)
class Finding:
    """What one image showed: pixels per class (the last entry is what is ignored), or what is wrong with it."""

    image_id: str
    problem: str = ""
    warning: str = ""
    pixels: NDArray[np.int64] | None = None
    size: tuple[int, int] = (0, 0)


@dataclass
class SplitReport:
    """What a check found out about one split."""

    split: str
    images: int = 0
    expected_images: int | None = None
    checked: int = 0
    note: str = ""
    statistics: str = ""
    """With which published numbers the classes were compared, or why with none."""
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    smallest: tuple[int, int] = (0, 0)
    """(width, height) of the image with the fewest pixels."""
    largest: tuple[int, int] = (0, 0)
    ignored: float = 0.0
    """Share of the pixels that nobody scores."""
    images_per_class: dict[str, int] = field(default_factory=dict)
    pixels_per_class: dict[str, int] = field(default_factory=dict)
    labels_sha256: str = ""
    """Hash of ids and pixels per class of all checked images, in order: equal for equal labels."""

    @property
    def ok(self) -> bool:
        return not self.problems


def check(
    dataset: FolderDataset,
    splits: Sequence[str] = (),
    sample: int | None = 200,
    partial: bool = False,
    workers: int = 0,
    progress: Progress = silent,
) -> list[SplitReport]:
    """Check the given splits, or all that are there. `sample`: images decoded per split, None for all of them.

    `partial`: it is known that images are missing; their number and statistics are then no problem. Raises
    `UserError` where the root is missing or of another layout, or where none of the splits is there.
    """
    found, absent = [], []
    for split in splits or dataset.splits:
        try:
            dataset.source(split)
        except UserError as error:
            absent.append(error)
        else:
            found.append(split)
    if not found or (splits and absent):
        raise absent[0]
    return [check_split(dataset, split, sample, partial, workers, progress) for split in found]


def check_split(
    dataset: FolderDataset, split: str, sample: int | None, partial: bool, workers: int, progress: Progress
) -> SplitReport:
    source, ids = dataset.source(split), list(dataset.ids(split))
    report = SplitReport(split, len(ids), source.count, note=dataset.note(split))
    if source.count not in (None, len(ids)) and not partial:
        report.problems.append(
            f"{len(ids):,} images, where the full split has {source.count:,}; --partial accepts that."
        )
    missing = missing_files(dataset, split, ids)
    report.problems += shorten(list(missing.values()))
    chosen = pick([name for name in ids if name not in missing], sample)
    findings, look = [], functools.partial(inspect, dataset, split)
    with progress(f"checking {dataset.name} {split}", len(chosen)) as advance:
        for done, finding in enumerate(parallel_map(look, chosen, workers), 1):
            findings.append(finding)
            advance(done)
    report.checked = len(findings)
    report.problems += shorten([finding.problem for finding in findings if finding.problem])
    report.warnings += shorten([finding.warning for finding in findings if finding.warning])
    summarise(report, dataset, [finding for finding in findings if finding.pixels is not None])
    return report


def pick(ids: Sequence[str], sample: int | None) -> list[str]:
    """`sample` of the ids, always the same ones, in order."""
    if sample is None or sample >= len(ids):
        return list(ids)
    return [ids[i] for i in sorted(random.Random(0).sample(range(len(ids)), sample))]


def missing_files(dataset: FolderDataset, split: str, ids: Iterable[str]) -> dict[str, str]:
    """Which ids lack a file: id -> message."""
    missing = {}
    for name in ids:
        try:
            dataset.verify(split, [name])
        except UserError as error:
            missing[name] = str(error).partition("\n")[0]
    return missing


def shorten(lines: list[str], limit: int = 5) -> list[str]:
    """The first lines, and how many more there are."""
    more = [f"... and {len(lines) - limit:,} more like these."] if len(lines) > limit else []
    return lines[:limit] + more


def inspect(dataset: FolderDataset, split: str, name: str) -> Finding:
    """Decode an image with its label, as a run would."""
    try:
        sample = dataset.read(split, name)
    except UserError as error:
        return Finding(name, problem=str(error).partition("\n")[0])
    classes = len(dataset.classes)
    pixels = np.bincount(np.where(sample.label < 0, classes, sample.label).ravel(), minlength=classes + 1)
    height, width = sample.label.shape
    return Finding(name, "", exif_warning(dataset.pair(split, name).image), pixels, (width, height))


def exif_warning(path: Path) -> str:
    orientation = exif_orientation(path)
    if orientation == UPRIGHT:
        return ""
    return (
        f"{path}: EXIF orientation {orientation}; it is read unturned: make sure that its mask was made on it unturned."
    )


def summarise(report: SplitReport, dataset: FolderDataset, findings: list[Finding]) -> None:
    """Put statistics into the report, and what they say about the labels."""
    if not findings:
        return
    counts = np.stack([finding.pixels for finding in findings if finding.pixels is not None])
    pixels, present = counts.sum(axis=0), (counts > 0).sum(axis=0)
    report.smallest, report.largest = extremes([finding.size for finding in findings])
    report.ignored = float(pixels[-1] / pixels.sum())
    report.pixels_per_class = dict(zip(dataset.classes, map(int, pixels), strict=False))
    report.images_per_class = dict(zip(dataset.classes, map(int, present), strict=False))
    names = "\n".join(finding.image_id for finding in findings).encode(errors="surrogateescape")
    report.labels_sha256 = hashlib.sha256(names + counts.astype("<i8").tobytes()).hexdigest()
    if report.ignored == 1:
        report.problems.append("no pixel of any checked image has a class.")
    elif absent := [name for name, images in report.images_per_class.items() if not images]:
        more = f" and {len(absent) - 5} more" if len(absent) > 5 else ""
        drawn = " Are the masks black and white? Then a card needs `threshold`: now 255 is ignored."
        white = (
            len(dataset.classes) == 2 and pixels[-1] and dataset.source(report.split).labels.values.get(255) == IGNORE
        )
        report.warnings.append(
            f"no pixel of {', '.join(absent[:5])}{more} in the checked images.{drawn if white else ''}"
        )
    reference = dataset.references.get(report.split)
    report.statistics = comparison(reference, dataset.classes, len(findings))
    if reference is None or len(findings) < MIN_IMAGES:
        return
    complete = report.expected_images in (None, report.images)
    unlike = list(compare(report, reference, list(dataset.classes), len(findings)))
    (report.problems if complete else report.warnings).extend(unlike)


def comparison(reference: Reference | None, classes: Sequence[str], checked: int) -> str:
    """What images per class are compared with, and what is not compared."""
    if reference is None:
        return "images per class not compared: no published numbers are known for this split."
    if checked < MIN_IMAGES:
        return f"images per class not compared: {checked} images say nothing, {MIN_IMAGES} or more are needed."
    known = sum(name in reference.images for name in classes)
    return f"images per class compared with {reference.source} for {known} of {len(classes)} classes."


def extremes(sizes: list[tuple[int, int]]) -> tuple[tuple[int, int], tuple[int, int]]:
    ordered = sorted(sizes, key=lambda size: size[0] * size[1])
    return ordered[0], ordered[-1]


def compare(report: SplitReport, reference: Reference, classes: list[str], checked: int) -> Iterator[str]:
    """What the numbers of images per class say, next to the published ones."""
    known = [name for name in classes if name in reference.images]
    shift = best_shift(report.images_per_class, reference.images, classes)
    if shift:
        yield (
            f"labels look shifted by {shift:+d}: images per class fit those of {reference.source} only when each class "
            "is taken for its neighbour. Was reduce_zero_label applied to the files, or is background missing?"
        )
        return
    for name in known:
        share = reference.images[name] / reference.total
        expected, found = share * checked, report.images_per_class[name]
        spread = (checked * share * (1 - share) * max(0.0, 1 - checked / reference.total)) ** 0.5
        if abs(found - expected) > max(FAR * spread, reference.tolerance * expected, 3.0):
            yield f"{name} is in {found:,} of {checked:,} images; by {reference.source} about {expected:,.0f} are expected."


def best_shift(found: Mapping[str, int], expected: Mapping[str, int], classes: list[str]) -> int:
    """-1, 0 or 1: by how much the classes must be shifted for the found numbers to follow the expected ones best."""
    known = [i for i, name in enumerate(classes) if name in expected]
    if len(known) < 5:
        return 0
    fits = {}
    for shift in (0, -1, 1):
        pairs = [(found[classes[i + shift]], expected[classes[i]]) for i in known if 0 <= i + shift < len(classes)]
        a, b = np.array(pairs, dtype=np.float64).T
        fits[shift] = float(np.corrcoef(a, b)[0, 1]) if a.std() and b.std() else 0.0
    best = max(fits, key=lambda shift: fits[shift])
    return best if fits[best] - fits[0] > SHIFT_GAIN else 0
