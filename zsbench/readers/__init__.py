"""Shared readers: images, masks, label maps, and datasets that are folders of both."""

from zsbench.readers.coco import Annotations
from zsbench.readers.folder import FolderDataset
from zsbench.readers.image import read_image
from zsbench.readers.labels import LabelMap
from zsbench.readers.mask import read_binary, read_mask
from zsbench.readers.source import Files, Masks, Pair, Reference, Source

__all__ = [
    "Annotations",
    "Files",
    "FolderDataset",
    "LabelMap",
    "Masks",
    "Pair",
    "Reference",
    "Source",
    "read_binary",
    "read_image",
    "read_mask",
]
