"""Proposals that are not learnt: grid, ground truth, files."""

import json

import numpy as np
import pytest
import torch

from zsbench.data.coco_results import check_ids, encode, read_proposals, write_proposals
from zsbench.errors import UserError
from zsbench.method import ImageBatch
from zsbench.methods.two_stage.proposals import from_file, grid, oracle, same_shape


def test_grid_cells_cover_the_image_once_and_leave_the_padding():
    (found,) = grid(torch.zeros(1, 3, 40, 50), 3)
    assert found.masks.shape == (9, 64, 64) and found.queries is None
    assert torch.equal(found.masks[:, :40, :50].sum(0), torch.ones(40, 50))
    assert found.masks.sum() == 40 * 50
    sizes = found.masks.flatten(1).sum(1)
    assert sizes.min() >= 13 * 16 and sizes.max() <= 14 * 17


def test_oracle_is_one_segment_for_each_class():
    label = torch.full((20, 30), -1)
    label[:5], label[5:8, :10] = 4, 0
    (found,) = oracle(ImageBatch(torch.zeros(1, 3, 40, 60), labels=[label]))
    assert found.masks.shape == (2, 64, 64)
    assert found.masks[0, 10:16, :20].min() == 1 and found.masks[0].sum() == 6 * 20
    assert found.masks[1, :10, :60].min() == 1 and found.masks[1].sum() == 10 * 60


def test_oracle_needs_labels_of_whole_images():
    with pytest.raises(UserError, match="ground truth"):
        list(oracle(ImageBatch(torch.zeros(1, 3, 8, 8))))
    with pytest.raises(UserError, match="slides a window"):
        list(oracle(ImageBatch(torch.zeros(1, 3, 8, 8), labels=[torch.zeros(8, 8)], whole=False)))
    (nothing,) = oracle(ImageBatch(torch.zeros(1, 3, 8, 8), labels=[torch.full((8, 8), -1)]))
    assert nothing.masks.shape == (0, 32, 32)


def test_a_file_gives_back_what_was_written(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "proposals.json"
    masks = {"a": rng.random((3, 12, 20)) > 0.5, "b": rng.random((2, 15, 10)) > 0.5}
    masks["a"][1] = False
    count = write_proposals(path, [(key, value, [0.5] * len(value)) for key, value in masks.items()])
    assert count == 4
    found = read_proposals(path)
    assert torch.equal(found["a"].masks(), torch.from_numpy(masks["a"][[0, 2]]))
    images = torch.zeros(1, 3, 24, 40)
    (proposals,) = from_file(ImageBatch(images, ["a"]), found, "file")
    doubled = np.kron(masks["a"][0], np.ones((2, 2)))
    np.testing.assert_array_equal(proposals.masks[0, :24, :40], doubled)


def test_uncompressed_counts_are_read(tmp_path):
    path = tmp_path / "proposals.json"
    entry = {"image_id": 7, "segmentation": {"size": [2, 3], "counts": [1, 2, 3]}}
    path.write_text(json.dumps([entry]))
    assert read_proposals(path)["7"].masks().int().tolist() == [[[0, 1, 0], [1, 0, 0]]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "list"),
        ("[", "JSON"),
        ('[{"image_id": 1}]', "entry 0"),
        ('[{"image_id": 1, "segmentation": [[0, 0, 1, 1]]}]', "run-length"),
        ('[{"image_id": 1, "segmentation": {"size": [2, 2], "counts": [1, 2]}}]', "add up to 3"),
    ],
)
def test_files_of_another_format_are_refused(tmp_path, content, message):
    path = tmp_path / "proposals.json"
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        read_proposals(path)


def test_segments_of_several_sizes_are_refused(tmp_path):
    path = tmp_path / "proposals.json"
    entries = [{"image_id": "x", "segmentation": encode(np.ones(size, bool))} for size in ((2, 3), (3, 2))]
    path.write_text(json.dumps(entries))
    with pytest.raises(UserError, match="several sizes"):
        read_proposals(path)


def test_proposals_for_other_images_are_refused(tmp_path):
    path = tmp_path / "proposals.json"
    write_proposals(path, [("a", np.ones((1, 30, 40), bool), [1.0])])
    found = read_proposals(path)
    with pytest.raises(UserError, match="no proposals for image b"):
        list(from_file(ImageBatch(torch.zeros(1, 3, 30, 40), ["b"]), found, "file"))
    with pytest.raises(UserError, match="30x40"):
        list(from_file(ImageBatch(torch.zeros(1, 3, 40, 30), ["a"]), found, "file"))
    with pytest.raises(UserError, match="split lacks"):
        check_ids(found, ["b", "c"], path)
    check_ids(found, ["a", "c"], path)


def test_shapes_agree_up_to_the_rounding_of_a_resize():
    assert same_shape((375, 500), (512, 683)) and same_shape((512, 683), (375, 500))
    assert not same_shape((375, 500), (500, 375)) and not same_shape((375, 500), (512, 690))
