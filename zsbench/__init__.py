"""zsbench: how good, and how expensive, is a zero-shot segmentation method really?

The Python API mirrors the command line; names are imported on first use, so that `import zsbench` stays instant.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from zsbench.api import evaluate, load_dataset, load_method, profile, train
    from zsbench.result import Result

_HOMES = {
    "evaluate": "zsbench.api",
    "load_dataset": "zsbench.api",
    "load_method": "zsbench.api",
    "profile": "zsbench.api",
    "train": "zsbench.api",
    "Result": "zsbench.result",
}

__all__ = ["Result", "__version__", "evaluate", "load_dataset", "load_method", "profile", "train"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'zsbench' has no attribute {name!r}")
