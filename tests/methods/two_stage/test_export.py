"""Proposals written by one method and read by another."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from zsbench.cli.proposals import main
from zsbench.clip.text import encode_vocabulary
from zsbench.data.coco_results import read_proposals, write_proposals
from zsbench.errors import UserError
from zsbench.method import ImageBatch
from zsbench.methods.training_free.maskclip import MaskClip
from zsbench.methods.two_stage.clip_regions import ClipRegions
from zsbench.methods.two_stage.options import ClipRegionOptions
from zsbench.runs.execution import execute
from zsbench.runs.plan import make_plan
from zsbench.runs.proposals import proposals
from zsbench.runs.request import Request


@pytest.fixture
def plan(squares, tiny_clip_config):
    return SimpleNamespace(
        method_class=ClipRegions,
        options=ClipRegionOptions(proposals="oracle", templates="dataset"),
        clip=tiny_clip_config,
        weights="random",
        request=SimpleNamespace(checkpoint=None),
        released=None,
        checkpoint=None,
        dataset=squares,
        protocol=squares.defaults.protocol,
        eval_ids=squares.ids("val")[:3],
        device=torch.device("cpu"),
    )


def test_a_file_stands_for_the_method_that_wrote_it(plan, squares, tiny_clip, tmp_path):
    path = tmp_path / "proposals.json"
    rows = list(proposals(plan))
    for image_id, masks, scores in rows:
        label = squares.read("val", image_id).label
        classes = [c for c in np.unique(label) if c >= 0]
        np.testing.assert_array_equal(masks, [label == c for c in classes])
        assert scores == [1.0] * len(classes)
    write_proposals(path, rows)
    reader = ClipRegions(tiny_clip, ClipRegionOptions(proposals="file", file=path, templates="dataset")).eval()
    writer = ClipRegions(tiny_clip, plan.options).eval()
    with torch.no_grad():
        for image_id in plan.eval_ids:
            sample = squares.read("val", image_id)
            image = torch.from_numpy(sample.image).permute(2, 0, 1)[None] / 255
            for method in (reader, writer):
                method.set_vocabulary(encode_vocabulary(tiny_clip, squares.classes, squares.seen_mask))
            found = reader.predict_batch(ImageBatch(image, [image_id]))
            expected = writer.predict_batch(ImageBatch(image, [image_id], [torch.from_numpy(sample.label)]))
            torch.testing.assert_close(found.logits, expected.logits)


def test_other_methods_make_no_proposals(plan):
    plan.method_class = MaskClip
    with pytest.raises(UserError, match="makes no proposals"):
        next(proposals(plan))


def test_the_command(tmp_path, capsys, monkeypatch):
    """A file for more images than are evaluated is taken; one for strange ids is not."""
    path = tmp_path / "proposals.json"

    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["zsbench-proposals", *arguments, "--out", str(path)])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code

    assert call("--method", "clip-regions", "-o", "cells=2", "--limit", "2") == 0
    assert "8 proposals for 2 images" in capsys.readouterr().out and len(read_proposals(path)) == 2
    assert call("--method", "clip-regions", "--dataset", "nowhere") == 2 and "nowhere" in capsys.readouterr().err
    assert call("--method", "maskclip") == 2 and "makes no proposals" in capsys.readouterr().err

    def evaluate():
        options = {"proposals": "file", "file": str(path)}
        request = Request(method="clip-regions", options=options, limit=1, out=tmp_path / "run", resume=True)
        return execute(make_plan("eval", request), profile=False).result

    written = path.read_text()
    path.write_text(written.replace("val-0001", "cat.jpg"))
    with pytest.raises(UserError, match=r"1 images that the dataset's split lacks, such as cat\.jpg"):
        evaluate()
    path.write_text(written)
    assert evaluate().statistics["clip_crops_per_image"] == 4
