"""Shared readers: images, masks, label maps, and datasets that are folders of both."""

from zsbench.data.card import dataset_class
from zsbench.data.coco import Annotations
from zsbench.data.folder import FolderDataset
from zsbench.data.image import read_image
from zsbench.data.label_map import LabelMap
from zsbench.data.mask import read_binary, read_mask
from zsbench.data.sources import Files, Masks, Pair, Reference, Source

__all__ = [
    "Annotations",
    "Files",
    "FolderDataset",
    "LabelMap",
    "Masks",
    "Pair",
    "Reference",
    "Source",
    "dataset_class",
    "read_binary",
    "read_image",
    "read_mask",
]
