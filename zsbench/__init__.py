"""zsbench: how good, and how expensive, is a zero-shot segmentation method really?

The Python API mirrors the command line. Its names are imported on first use, so that `import zsbench` is instant.
"""

import ast
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:  # each public name is said here, once; `public_names` reads it
    from zsbench.dataset import Dataset as Dataset
    from zsbench.dataset import EvalProtocol as EvalProtocol
    from zsbench.dataset import Sample as Sample
    from zsbench.errors import UserError as UserError
    from zsbench.image_metric import ImageMetric as ImageMetric
    from zsbench.image_metric import MeasuredImage as MeasuredImage
    from zsbench.method import Method as Method
    from zsbench.options import Options as Options
    from zsbench.options import Preset as Preset
    from zsbench.registry import register_dataset as register_dataset
    from zsbench.registry import register_method as register_method
    from zsbench.reports.comparison import Comparison as Comparison
    from zsbench.reports.comparison import compare as compare
    from zsbench.reports.hub import pull as pull
    from zsbench.reports.hub import push as push
    from zsbench.reports.report import report as report
    from zsbench.result import Result as Result
    from zsbench.runs.api import ablate as ablate
    from zsbench.runs.api import calibrate as calibrate
    from zsbench.runs.api import evaluate as evaluate
    from zsbench.runs.api import load_dataset as load_dataset
    from zsbench.runs.api import load_method as load_method
    from zsbench.runs.api import predict as predict
    from zsbench.runs.api import profile as profile
    from zsbench.runs.api import rerun as rerun
    from zsbench.runs.api import run as run
    from zsbench.runs.api import run_suite as run_suite
    from zsbench.runs.api import score as score
    from zsbench.runs.api import sweep as sweep
    from zsbench.runs.api import train as train


@cache
def public_names() -> dict[str, str]:
    """The module of each public name, as the imports above say it."""
    imports = [node for node in ast.walk(ast.parse(Path(__file__).read_bytes())) if isinstance(node, ast.ImportFrom)]
    return {
        alias.name: node.module
        for node in imports
        if node.module and node.module.startswith("zsbench.")
        for alias in node.names
    }


def __getattr__(name: str) -> Any:
    if not name.startswith("__") and name in public_names():
        return getattr(import_module(public_names()[name]), name)
    raise AttributeError(f"module 'zsbench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return ["__version__", *public_names()]
