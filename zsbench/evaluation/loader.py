"""Batches of an evaluation split: decoded and resized ahead of the method, and carried to its device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from zsbench.dataset import Dataset, EvalProtocol, read_sample
from zsbench.evaluation.tiling import resize, scored_label
from zsbench.utils.interruption import leave_to_parent

AHEAD = 4
"""Batches that each worker reads before they are asked for."""


@dataclass(frozen=True)
class Packed:
    """Tensors of any shapes in one: one handle between processes (which are few), one copy to a device."""

    flat: torch.Tensor
    shapes: list[torch.Size]

    @classmethod
    def of(cls, tensors: Sequence[torch.Tensor]) -> Packed:
        return cls(torch.cat([tensor.flatten() for tensor in tensors]), [tensor.shape for tensor in tensors])

    def unpack(self) -> list[torch.Tensor]:
        """The tensors, as views."""
        parts = self.flat.split([shape.numel() for shape in self.shapes])
        return [part.view(shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def to(self, device: torch.device) -> Packed:
        return Packed(self.flat.to(device, non_blocking=True), self.shapes)

    def pin_memory(self) -> Packed:
        return Packed(self.flat.pin_memory(), self.shapes)


@dataclass(frozen=True)
class Batch:
    """Ids, images as the method gets them, float32 (3, H, W) each, and their labels, int32 (H', W') each."""

    ids: list[str]
    images: Packed
    labels: Packed

    def to(self, device: torch.device) -> Batch:
        return Batch(self.ids, self.images.to(device), self.labels.to(device))

    def pin_memory(self) -> Batch:
        """In memory that CUDA copies from without waiting; called by PyTorch's loader."""
        return Batch(self.ids, self.images.pin_memory(), self.labels.pin_memory())


class ImageBatches(TorchDataset[Batch]):
    """Fixed batches of an evaluation split, decoded and resized.

    The composition of a batch never depends on what was done before, so a resumed run computes the very same numbers.
    """

    def __init__(self, dataset: Dataset, protocol: EvalProtocol, batches: Sequence[Sequence[str]]) -> None:
        self.dataset, self.protocol, self.batches = dataset, protocol, batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> Batch:
        ids = list(self.batches[index])
        samples = [read_sample(self.dataset, self.protocol.split, image_id) for image_id in ids]
        images = Packed.of([resize(sample.image, self.protocol) for sample in samples])
        return Batch(ids, images, Packed.of([scored_label(sample.label, self.protocol) for sample in samples]))


def read_ahead(
    dataset: Dataset, protocol: EvalProtocol, batches: Sequence[Sequence[str]], workers: int, device: torch.device
) -> Iterator[Batch]:
    """The batches, in memory of the CPU, read by so many worker processes or, with 0, when they are asked for."""
    return iter(
        DataLoader(
            ImageBatches(dataset, protocol, batches),
            batch_size=None,
            num_workers=workers,
            pin_memory=device.type == "cuda",
            prefetch_factor=AHEAD if workers else None,
            worker_init_fn=leave_to_parent,
        )
    )
