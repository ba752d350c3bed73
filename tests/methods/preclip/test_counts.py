"""Learnable parameters and multiply-adds of the methods, as the releases have them; counted where nothing is drawn."""

from pathlib import Path

import pytest
import torch

import zsbench
from zsbench.methods.preclip.cagnet import CaGNet
from zsbench.methods.preclip.joem import JoEm
from zsbench.methods.preclip.options import (
    CaGNetOptions,
    JoEmOptions,
    SignOptions,
    SpNetOptions,
    StrictOptions,
    Zs3Options,
)
from zsbench.methods.preclip.sign import Sign
from zsbench.methods.preclip.spnet import SpNet
from zsbench.methods.preclip.strict import Strict
from zsbench.methods.preclip.zs3 import Zs3
from zsbench.profiling.operations import count_macs

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
        (Sign, SignOptions(), 100_688_928 - AFFINE + 4_720_088 + 637_974),
    ],
)
def test_learnable_parameters(method, options, count):
    with torch.device("meta"):  # nothing is drawn
        built = method(None, options)
    assert sum(parameter.numel() for parameter in built.parameters() if parameter.requires_grad) == count


ZS3_CONTEXT = JoEmOptions.presets["pascal-context"].options | {"classes": 60}


@pytest.mark.parametrize(
    ("method", "options", "size", "classes", "gmacs"),
    [
        (SpNet, SpNetOptions(), (513, 513), 20, 674.31),
        pytest.param(*(SpNet, SpNetOptions(scales=(1.0,)), (513, 513), 20, 369.30), marks=pytest.mark.slow),
        pytest.param(*(SpNet, SpNetOptions(), (513, 513), 182, 675.06), marks=pytest.mark.slow),
        pytest.param(*(SpNet, SpNetOptions(stretch=None), (321, 321), 20, 269.42), marks=pytest.mark.slow),
        (Strict, StrictOptions(), (513, 513), 20, 369.30),
        (JoEm, JoEmOptions(sigma=1.0), (375, 500), 20, 264.33),
        pytest.param(*(JoEm, JoEmOptions(sigma=1.0), (512, 512), 20, 369.29), marks=pytest.mark.slow),
        (JoEm, JoEmOptions(**ZS3_CONTEXT | {"sigma": 1.0}), (375, 500), 60, 65.58),
        (Zs3, Zs3Options(classes=21), (512, 512), 21, 88.618),
        pytest.param(*(Zs3, Zs3Options(classes=21), (513, 684), 21, 121.659), marks=pytest.mark.slow),
        (CaGNet, CaGNetOptions(), (513, 513), 20, 412.17),
        (Sign, SignOptions(), (513, 513), 20, 430.87),
    ],
)
def test_multiply_adds(method, options, size, classes, gmacs):
    """Of one image, to half a percent."""
    with torch.device("meta"):
        built = method(None, options).eval()
        built.register_buffer("knows_unseen", torch.tensor(False, device="cpu"))
        built.vectors, images = torch.empty(classes, options.dim), torch.empty(1, 3, *size)
        with torch.no_grad():
            counted = count_macs(lambda: built.predict(images))
    assert counted == pytest.approx(gmacs, rel=5e-3)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spnet", "strict", "joem", "zs3", "cagnet", "sign"])
def test_profile_of_the_miniature(method, tmp_path):
    """`zsbench profile` runs on the CPU in seconds."""
    words = Path(__file__).parents[3] / "datasets" / "miniworld" / "words.npz"
    profile = zsbench.profile(method, "miniworld", words=words, seconds=0, largest_batch=1, device="cpu")
    assert profile.learnable_params > 0 and profile.gmacs > 0 and not profile.uncounted
