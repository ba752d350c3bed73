"""Training on real photographs: the 60 training images of PASCAL VOC in ../shared."""

from __future__ import annotations

import torch

from zsbench.runs.build import training_vocabulary
from zsbench.runs.execution import Run
from zsbench.runs.plan import make_plan
from zsbench.runs.request import Request
from zsbench.settings import Phase, TrainingView
from zsbench.training.feed import SampleStream


def loss_of(run: Run) -> float:
    """The losses without dropout on 16 crops that are the same each time."""
    view = TrainingView(run.plan.dataset, Phase("train", "inductive", "seen", run.plan.recipe), run.plan.train_ids)
    samples = [SampleStream(view, run.plan.recipe, 99)[number] for number in range(16)]
    run.tell(training_vocabulary(run.plan, run.clip, view))
    images, labels = (torch.stack(parts) for parts in list(zip(*samples, strict=True))[:2])
    with torch.no_grad():
        return float(run.method.eval().losses(images, labels).total)


def test_a_short_run_drives_the_loss_down(shared, small_clip, tmp_path):
    """The released recipe and losses, with a small CLIP, small crops and a warm-up that fits so few steps."""
    request = Request(
        dataset="pascal-voc",
        data_root=shared / "data" / "voc2012",
        clip=small_clip.name,
        weights="random",
        options={"heads": "4", "position_size": "none"},
        recipe={"crop": "64", "short_side": "64", "warmup_iterations": "5", "workers": "0", "learning_rate": "1e-3"},
        limit=60,
        iterations=60,
        batch_size=4,
        out=tmp_path / "run",
    )
    run = Run(make_plan("train", request))
    before = loss_of(run)
    run.train()
    assert loss_of(run) < 0.6 * before
