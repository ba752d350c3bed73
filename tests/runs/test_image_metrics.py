"""Metrics of images are found by name, or in a file of the user's; a mistake is named before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from toys import Squares

from zsbench.errors import UserError
from zsbench.runs.image_metrics import find_metric, open_metrics
from zsbench.utils.files import sha256

FILE = """
from zsbench import ImageMetric

class Sizes(ImageMetric):
    def measure(self, image):
        return {"pixels": image.label.size}

class Unmade(ImageMetric):
    pass
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    return path


def test_a_class_of_a_file_is_known_by_the_hash_of_the_file(file: Path) -> None:
    ((name, (metric, source)),) = open_metrics((Path(f"{file}:Sizes"),), Squares()).items()
    assert name == "Sizes" and metric.classes == Squares.classes and metric.seen.tolist() == [True, True, True, False]
    assert (source.name, source.sha256) == ("mine.py", sha256(file))
    assert find_metric(Path("boundary-iou")).file.name == "image_metrics.py"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("boundary_iou", "Did you mean 'boundary-iou'"),
        ("{}:Size", r"has no class Size that is a zsbench.ImageMetric.*Did you mean 'Sizes'"),
        ("{}:Path", "It has: Sizes, Unmade"),
        ("nowhere.py:Sizes", r"there is no Python file nowhere\.py"),
        ("{}:Unmade", "Unmade: TypeError"),
    ],
)
def test_what_is_no_metric_is_named(file: Path, given: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_metrics((Path(given.format(file)),), Squares())


def test_one_metric_is_given_once(file: Path) -> None:
    with pytest.raises(UserError, match="Sizes is given twice"):
        open_metrics((Path(f"{file}:Sizes"),) * 2, Squares())
