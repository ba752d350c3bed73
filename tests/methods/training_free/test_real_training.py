"""MaskCLIP+ learns from real photographs: the 60 training images of PASCAL VOC in ../shared.

The student is the full one, on ResNet-101, and MaskCLIP on ViT-B/16 its teacher in the first phase; both have random
weights, so what is learnt means nothing. That each phase's loss falls all the same says that its labels and its gradients
reach the student.
Images are 64 pixels wide, and steps few, as a step takes seconds on one core.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from looks import Looks, looks, told  # noqa: F401

from zsbench.runs.execution import Run
from zsbench.runs.plan import make_plan
from zsbench.runs.request import Request

STEPS = {"guided": 6, "self-train": 6}


@pytest.mark.slow
def test_a_short_run_drives_the_loss_of_each_phase_down(shared: Path, tmp_path: Path, looks: Looks) -> None:  # noqa: F811
    request = Request(
        method="maskclip-plus",
        dataset="pascal-voc",
        data_root=shared / "data" / "voc2012",
        setting="transductive",
        clip="ViT-B-16-quickgelu",
        weights="random",
        templates="single",
        recipe={
            "batch_size": "2",
            "crop": "64",
            "short_side": "64",
            "scale": "1,1",
            "schedule": "constant",
            "self_training_from": "0.5",
            "warmup_iterations": "0",
            "workers": "0",
        },
        limit=60,
        iterations=sum(STEPS.values()),
        out=tmp_path / "run",
    )
    run = Run(make_plan("train", request))
    assert {phase.name: phase.recipe.iterations for phase, _ in run.phases()} == STEPS
    try:
        run.train()
    finally:
        shutil.rmtree(tmp_path / "run")  # a gigabyte
    print()
    for phase in STEPS:
        before, after = looks[phase]
        print(told(phase, before, after))
    for phase in STEPS:
        before, after = looks[phase]
        assert after["ce"] < before["ce"], phase
