"""The name by which version 0.1 had the API; what is public stands in `zsbench` itself."""

from zsbench.runs.api import evaluate, load_dataset, load_method, profile, run, train

__all__ = ["evaluate", "load_dataset", "load_method", "profile", "run", "train"]
