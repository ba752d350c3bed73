"""Checkpoints of other classes are refused, with the background by its name where it alone is lacking."""

from pathlib import Path

import pytest

from zsbench.checkpoint import CheckpointInfo
from zsbench.errors import UserError
from zsbench.method import ReleasedCheckpoint
from zsbench.runs.compatibility import check_classes, check_numbers

PATH = Path("c.pth")
LACKING = (
    r"c\.pth was trained without the background class 'grey' of squares, and has no channel or prototype for it: give "
)


@pytest.fixture(autouse=True)
def with_background(monkeypatch, squares):
    monkeypatch.setattr(type(squares), "background", "grey")


def test_a_background_that_a_checkpoint_has_not_learnt(squares):
    """Squares are grey, red, green and blue."""
    told = {"method": "toy", "dataset": "three", "classes": list(squares.classes[1:])}
    info = CheckpointInfo.model_construct(**told)
    with pytest.raises(UserError, match=LACKING + "--dataset three, or --transfer"):
        check_classes(info, PATH, "toy", squares, False)
    check_classes(info, PATH, "toy", squares, True)


def test_a_class_that_was_learnt_is_never_unseen(squares):
    """Blue is unseen in `squares`; a fold of the same classes with other unseen ones is another data set."""
    told = {"method": "toy", "dataset": "fold2", "classes": list(squares.classes)}
    for unseen in ([], ["red", "green"]):
        info = CheckpointInfo.model_construct(**told, unseen=unseen)
        with pytest.raises(
            UserError, match=r"c\.pth was trained on fold2 where blue is seen, and squares counts it as"
        ):
            check_classes(info, PATH, "toy", squares, False)
        check_classes(info, PATH, "toy", squares, True)
    check_classes(CheckpointInfo.model_construct(**told, unseen=["red", "blue"]), PATH, "toy", squares, False)


def test_a_background_that_a_release_has_not_learnt(squares):
    """A file of a release may tell no more than how many classes there were: seen ones, or all."""

    def released(count):
        def check(seen, classes):
            if count not in (seen, classes):
                raise UserError(f"trained on {count} classes")

        return ReleasedCheckpoint({}, None, check, lambda method: None)

    with pytest.raises(UserError, match=LACKING + "the --dataset that it was trained on"):
        check_numbers(released(2), PATH, squares)
    with pytest.raises(UserError, match="trained on 1 classes"):
        check_numbers(released(1), PATH, squares)
    for count in (3, 4):
        check_numbers(released(count), PATH, squares)
