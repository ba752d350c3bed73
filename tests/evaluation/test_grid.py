"""Labels are scored at their own size, or by name on the grid of a release."""

import numpy as np
import pytest
import torch

import zsbench
from zsbench.dataset import EvalProtocol
from zsbench.errors import UserError
from zsbench.evaluation.tiling import resize, scored_label
from zsbench.registry import load_dataset_class, load_options
from zsbench.runs.request import Request
from zsbench.runs.resolve import resolve

LABEL = np.arange(35, dtype=np.int32).reshape(5, 7)


def test_own_size_by_default():
    assert torch.equal(scored_label(LABEL, EvalProtocol()), torch.from_numpy(LABEL))


def test_cells_have_the_label_of_the_pixel_at_their_corner():
    """floor(cell x side / cells), as cv2's and torch's nearest do."""
    found = scored_label(LABEL, EvalProtocol(grid=3))
    assert found.dtype == torch.int32
    assert found.tolist() == [[0, 2, 4], [7, 9, 11], [21, 23, 25]]


def test_grid_of_the_resized_image():
    protocol = EvalProtocol(stretch=9, grid="image")
    assert scored_label(LABEL, protocol).shape == (9, 9)
    assert resize(np.zeros((5, 7, 3), np.uint8), protocol).shape == (3, 9, 9)
    assert scored_label(LABEL, EvalProtocol(short_side=10, grid="image")).shape == (10, 14)


@pytest.mark.parametrize(
    ("method", "stretch", "short_side", "grid"),
    [
        ("spnet", 513, None, "image"),
        ("strict", 513, None, "image"),
        ("cagnet", 513, None, 65),
        ("sign", 513, None, 65),
        ("zs3", None, 513, "image"),
    ],
)
def test_protocols_as_released(method, stretch, short_side, grid, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    request = Request(method=method, dataset="pascal-voc", protocol="as-released")
    protocol = resolve(request).protocol()
    assert (protocol.stretch, protocol.short_side, protocol.grid) == (stretch, short_side, grid)
    assert resolve(request.model_copy(update={"protocol": None})).protocol().grid is None
    with pytest.raises(UserError, match="leave one out"):
        resolve(request.model_copy(update={"save_predictions": tmp_path}))


def test_a_protocol_that_the_method_does_not_have():
    with pytest.raises(UserError, match="zegclip has no protocol 'as-released'; it has: none"):
        resolve(Request(method="zegclip", protocol="as-released"))
    with pytest.raises(UserError, match="Did you mean 'as-released'"):
        resolve(Request(method="spnet", dataset="pascal-voc", protocol="as-release"))


def test_the_row_says_which_of_the_two_it_is(tmp_path, monkeypatch):
    """A run on a grid is another row, with the protocol in its label."""
    from zsbench.methods.training_free.options import MaskClipOptions
    from zsbench.reports.rows import StoredResult, label

    monkeypatch.setattr(MaskClipOptions, "protocols", {"small": {"grid": 8}})
    runs = [
        zsbench.evaluate("maskclip", "miniworld", limit=2, out=tmp_path / str(n), protocol=name)
        for n, name in enumerate((None, "small"))
    ]
    own, grid = (StoredResult(run, tmp_path / str(n) / "result.json") for n, run in enumerate(runs))
    assert own.row != grid.row
    assert (label(own), label(grid)) == ("--limit 2", "--protocol small --limit 2")
    assert sum(row.gt for row in grid.result.per_class) <= 2 * 8 * 8


def test_all_182_ids_of_coco_stuff():
    """11 of them label no pixel; the unseen classes are those of the 171."""
    every, usual = (load_dataset_class(name)() for name in ("coco-stuff-182", "coco-stuff"))
    assert (len(every.classes), every.seen_mask.sum(), every.unseen) == (182, 167, usual.unseen)
    assert every.classes[0] == "person" and every.classes[11] == "street sign" and every.classes[90] == "hair brush"
    source, same = every.splits["val"][0].labels.values, usual.splits["val"][2].labels.values
    for raw, index in same.items():
        assert (source[raw] < 0 and index < 0) or every.classes[source[raw]] == usual.classes[index]
    for method in ("cagnet", "sign", "zs3"):
        options = load_options(method)
        assert options(**options.preset("coco-stuff-182").options).classes == 182
