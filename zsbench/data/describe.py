"""`zsbench data info` and `zsbench data show`: what a dataset is, and what one of its images looks like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from zsbench.data import FolderDataset
from zsbench.dataset import Dataset, Sample, checked_ids, read_sample
from zsbench.errors import UserError
from zsbench.utils.figures import Key, save_masks
from zsbench.utils.files import make_folder

SHOWN = 6
"""Images in a picture of `zsbench data show`, unless some are named."""


def describe(dataset_class: type[Dataset]) -> dict[str, Any]:
    """All that is known about a dataset without its files, ready for JSON."""
    dataset = dataset_class()
    facts: dict[str, Any] = {
        "name": dataset.name,
        "summary": (dataset_class.__doc__ or "").strip().partition("\n")[0],
        "classes": list(dataset.classes),
        "unseen": list(dataset.unseen),
        "background": dataset.background,
        "name_sets": {
            name: {"sha256": names.sha256, "source": names.source} for name, names in dataset.known_names.items()
        },
        "defaults": asdict(dataset.defaults),
        "where": dataset.where,
    }
    if isinstance(dataset, FolderDataset):
        facts |= {
            "licence": dataset.licence,
            "disk": dataset.disk,
            "splits": {
                split: [source.count for source in sources if source.count is not None]
                for split, sources in dataset.splits.items()
            },
            "unpacks": dict(dataset.archives),
            "prepares": [conversion.title for conversion in dataset.conversions],
        }
    return facts


def describe_in_words(dataset_class: type[Dataset]) -> str:
    """The same for people."""
    return in_words(describe(dataset_class))


def in_words(facts: Mapping[str, Any]) -> str:
    """What `describe` gives, for people."""
    unseen = f", {len(facts['unseen'])} of them unseen: {', '.join(facts['unseen'][:15])}" if facts["unseen"] else ""
    more = ", ..." if len(facts["unseen"]) > 15 else ""
    protocol = facts["defaults"]["protocol"]
    size = f"short side {protocol['short_side']}" if protocol["short_side"] else "original size"
    threshold = protocol["background_threshold"]
    background = f", background below {threshold:g}" if threshold else ""
    window = f"windows of {protocol['crop']} every {protocol['stride']}" if protocol["crop"] else "whole image"
    lines = [
        f"{facts['name']}: {facts['summary']}",
        f"classes    {len(facts['classes'])}{unseen}{more}",
        f"protocol   {protocol['split']}, {size}, {window}{background}, prompts {facts['defaults']['templates']}",
    ]
    for name, names in facts["name_sets"].items():
        default = " (default)" if name == facts["defaults"]["names"] else ""
        source = f", {names['source']}" if names["source"] else ""
        lines.append(f"names      {name}{default} {names['sha256'][:12]}{source}")
    for split, counts in facts.get("splits", {}).items():
        lines.append(
            f"{split:10} {' or '.join(f'{count:,}' for count in dict.fromkeys(counts)) or 'any number of'} images"
        )
    lines += [f"{title:10} {facts[title] or 'not known'}" for title in ("licence", "disk") if title in facts]
    lines += [f"prepare    {title}" for title in facts.get("prepares", [])]
    return "\n".join([*lines, facts["where"]]).rstrip()


def show(dataset: Dataset, split: str, which: Sequence[str] = (), out: Path | None = None) -> tuple[Path, list[str]]:
    """Draw images beside themselves under their masks, with names in the regions; the picture's path, a line for each image.

    `which`: numbers, counted from 0, or image ids; without any, some that are spread over the split. Raises `UserError`
    for one that is not there.
    """
    ids = checked_ids(dataset, split)
    spread = np.unique(np.linspace(0, len(ids) - 1, SHOWN).astype(int))
    names = [named(dataset, split, ids, each) for each in which] or [ids[index] for index in spread]
    samples = [read_sample(dataset, split, name) for name in names]
    if out is not None:
        make_folder(out.parent)
    few = f"-{names[0].replace('/', '_')}" if len(names) == 1 else ""
    path = out or Path(f"{dataset.name}-{split}{few}.png")
    key = Key(dataset.classes, dataset.palette, dataset.unseen)
    captions = [about(sample) for sample in samples]
    pairs = [(sample.image, sample.label, caption) for sample, caption in zip(samples, captions, strict=True)]
    save_masks(path, pairs, key, f"{dataset.name}, {split}")
    return path, captions


def named(dataset: Dataset, split: str, ids: Sequence[str], which: str) -> str:
    """The id that `which` is, or the number of; ids come first."""
    if which in ids:
        return which
    if which.isdecimal() and int(which) < len(ids):
        return ids[int(which)]
    raise UserError(f"{dataset.name} {split} has no image {which!r}: give an id or a number in 0..{len(ids) - 1}.")


def about(sample: Sample) -> str:
    height, width = sample.label.shape
    return f"{sample.id}: {width}x{height}, {100 * float((sample.label < 0).mean()):.1f} % of the pixels ignored"
