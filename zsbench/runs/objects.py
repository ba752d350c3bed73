"""Methods and datasets as objects: what the API is given in the place of names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zsbench import registry
from zsbench.dataset import Dataset, checked_ids, split_ids
from zsbench.errors import UserError
from zsbench.runs.request import Request, Verb
from zsbench.runs.resolve import data_root, resolve

if TYPE_CHECKING:
    from zsbench.method import Method
    from zsbench.runs.plan import Plan


def named(given: Mapping[str, Any]) -> tuple[dict[str, Any], Dataset | None]:
    """What was given with names in the place of classes and objects, and the dataset if it was one of these.

    Classes that nobody registered are known from now on, by their own names.
    """
    words, dataset = dict(given), given.get("dataset")
    if isinstance(words.get("method"), type):
        words["method"] = registry.named_class("method", words["method"])
    if isinstance(dataset, type) and issubclass(dataset, Dataset):
        root = given.get("data_root")
        dataset = dataset(data_root(None if root is None else Path(root)))
    if not isinstance(dataset, Dataset):
        return words, None
    words["dataset"] = registry.named_class("dataset", type(dataset))
    dataset.validate()
    return words, dataset


ITS_OWN = ("options", "variant", "checkpoint", "calibrated", "clip", "weights", "words", "plugin")
"""What a method that is an object has already."""


def check_free(given: Mapping[str, Any]) -> None:
    """Raise `UserError` for what cannot be said of a method that is there already."""
    if said := [name for name in ITS_OWN if name in given]:
        raise UserError(
            f"{', '.join(said)}: the method is an object, and has its own. Say it where the object is made "
            "(zsbench.load_method), or give the method by its name or class."
        )


def plan_of(method: Method, given: Mapping[str, Any]) -> Plan:
    """The plan of evaluating a method as it stands, with what was given besides; its options and its CLIP are its own."""
    from zsbench.method import Method
    from zsbench.runs.plan import default_out, make_plan

    if not isinstance(method, Method):
        raise UserError(
            f"method: expected a name, a subclass of zsbench.Method, or an object of one, not {method!r:.80}."
        )
    words, dataset = named({**given, "method": type(method)})
    verb: Verb = "load"  # nothing is asked of a checkpoint: the method has learnt what it has learnt
    request = Request.of("eval", words)
    resolve(request, dataset)
    plan = make_plan(verb, request, dataset)
    ids = split_ids(plan.dataset, plan.protocol.split, request.limit)
    method.options.verify(checked_ids(plan.dataset, plan.protocol.split))
    if method.clip is not None:
        plan = replace(plan, clip=method.clip.name, weights=method.clip.weights.source)
    out = request.out or default_out("eval", request, plan.setting, False)
    return replace(plan, verb="eval", options=method.options, eval_ids=tuple(ids), out=out)
