"""Learnable parameters of the methods, as the releases have them."""

import pytest
import torch

from zsbench.methods.preclip.cagnet import CaGNet
from zsbench.methods.preclip.joem import JoEm
from zsbench.methods.preclip.options import CaGNetOptions, JoEmOptions, SpNetOptions, StrictOptions, Zs3Options
from zsbench.methods.preclip.spnet import SpNet
from zsbench.methods.preclip.strict import Strict
from zsbench.methods.preclip.zs3 import Zs3

CONTEXT = JoEmOptions.presets["pascal-context"].options
AFFINE = 105_344
"""Scales and shifts of CaGNet's batch norm, which never learn: constants here, parameters in the release."""


@pytest.mark.parametrize(
    ("method", "options", "count"),
    [
        (SpNet, SpNetOptions(), 86_634_016),
        (Strict, StrictOptions(), 86_634_016),
        (JoEm, JoEmOptions(), 86_751_981 + 360_600),
        (JoEm, JoEmOptions(**CONTEXT), 59_354_332 + 77_056),
        (Zs3, Zs3Options(classes=21), 59_344_309 + 219_648),
        (Zs3, Zs3Options(classes=20), 59_344_052 + 219_648),
        (Zs3, Zs3Options(classes=171, graph=True), 59_382_859 + 2 * 219_648),
        (Zs3, Zs3Options(**Zs3Options.variants["deeplab-v2"]), 42_394_816 + 18_875_392 + 5_140 + 219_648),
        (CaGNet, CaGNetOptions(), 96_262_944 - AFFINE + 4_720_088 + 637_974),
    ],
)
def test_learnable_parameters(method, options, count):
    with torch.device("meta"):  # nothing is drawn
        built = method(None, options)
    assert sum(parameter.numel() for parameter in built.parameters() if parameter.requires_grad) == count
