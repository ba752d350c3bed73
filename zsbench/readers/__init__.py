"""Shared readers: images, masks, label maps, and datasets that are folders of both."""

from zsbench.readers.folder import Files, FolderDataset, Source
from zsbench.readers.image import read_image
from zsbench.readers.labels import LabelMap
from zsbench.readers.mask import read_mask

__all__ = ["Files", "FolderDataset", "LabelMap", "Source", "read_image", "read_mask"]
