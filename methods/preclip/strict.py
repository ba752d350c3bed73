"""STRICT: SPNet that teaches itself where its views of an image agree (Pastore et al., L2ID at CVPR 2021)."""

from __future__ import annotations

from zsbench.registry import register_method

from .options import StrictOptions
from .spnet import SpNet


@register_method("strict")
class Strict(SpNet):
    """SPNet at one scale, taught by itself in rounds where six views of an image agree (2021).

    The released base model trains its batch norm on batches of eight crops and keeps the statistics of the last one; here
    they are frozen, as SPNet's are. Padding is black, as released. Nothing is calibrated.
    """

    Options = StrictOptions
    options: StrictOptions
