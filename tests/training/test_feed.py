"""What a phase reads: the same samples in every run, for any number of processes, workers and micro-batches."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest
import torch

from zsbench.errors import UserError
from zsbench.recipe import Recipe
from zsbench.settings import Phase, TrainingView
from zsbench.training.feed import Feed, SampleStream


@pytest.fixture
def stream(squares):
    def build(**changes):
        recipe = Recipe(**{**squares.defaults.recipe, "batch_size": 6, **changes})
        return SampleStream(TrainingView(squares, Phase("train", "inductive", "seen", recipe)), recipe, 0)

    return build


def process(index=0, count=1):
    return SimpleNamespace(process_index=index, num_processes=count, device=torch.device("cpu"))


def ids(feed, batches):
    return [[image_id for part in feed.draw() for image_id in part.ids] for _ in range(batches)]


def test_every_image_is_seen_once_per_pass(stream):
    samples = stream()
    passes = [[samples[k][2] for k in range(12 * epoch, 12 * (epoch + 1))] for epoch in range(3)]
    assert all(sorted(seen) == sorted(passes[0]) for seen in passes)
    assert passes[0] != passes[1]


@pytest.mark.parametrize("changes", [{"micro_batch": 4}, {"workers": 2}])
def test_micro_batches_and_workers_change_nothing(stream, changes):
    assert ids(Feed(stream(**changes), process()), 3) == ids(Feed(stream(), process()), 3)


def test_processes_share_a_batch(stream):
    whole = ids(Feed(stream(), process()), 3)
    parts = [ids(Feed(stream(micro_batch=1), process(index, 3)), 3) for index in range(3)]
    assert [list(itertools.chain(*together)) for together in zip(*parts, strict=True)] == whole
    with pytest.raises(UserError, match="--batch-size 6 cannot be shared by 4"):
        Feed(stream(), process(0, 4))


def test_a_feed_goes_on_where_another_stood(stream):
    feed = Feed(stream(), process())
    feed.drawn = 2
    assert ids(feed, 2) == ids(Feed(stream(), process()), 4)[2:] and feed.drawn == 4
