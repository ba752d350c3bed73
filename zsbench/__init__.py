"""zsbench: how good, and how expensive, is a zero-shot segmentation method really?

The Python API mirrors the command line; names are imported on first use, so that `import zsbench` stays instant.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from zsbench.result import Result
    from zsbench.runs.api import evaluate, load_dataset, load_method, profile, train

_HOMES = {
    "evaluate": "zsbench.runs.api",
    "load_dataset": "zsbench.runs.api",
    "load_method": "zsbench.runs.api",
    "profile": "zsbench.runs.api",
    "train": "zsbench.runs.api",
    "Result": "zsbench.result",
}

__all__ = ["Result", "__version__", "evaluate", "load_dataset", "load_method", "profile", "train"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'zsbench' has no attribute {name!r}")
