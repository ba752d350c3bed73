"""The card of a run on the Hugging Face Hub: what was measured, on what, and how sure it is, generated from the result."""

from __future__ import annotations

import math
from importlib.resources import files

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from zsbench.reports.markup import cell, plain
from zsbench.reports.tables import TITLES
from zsbench.result import Result

TASK = "image-segmentation"
NOT_STATED = "not stated"


def model_card(result: Result, repo: str, checkpoint: str | None, records: bool, license: str | None) -> ModelCard:
    """The card of `result` in the repository `repo`; `checkpoint`: the file of the learnt weights, if there is one."""
    title = f"{result.method.name} on {result.dataset.name}, {result.setting}"
    named = [(name, title) for name, title in TITLES.items() if not math.isnan(result.metrics[name].value)]
    data = ModelCardData(
        model_name=plain(title),
        license=license,
        library_name="zsbench",
        pipeline_tag=TASK,
        tags=["zero-shot", "semantic-segmentation", "zsbench"],
        eval_results=[evaluated(result, name, title) for name, title in named],
    )
    rows = []
    for name, title in named:
        metric = result.metrics[name]
        interval = "-" if math.isnan(metric.low) else f"{metric.low:.2f} to {metric.high:.2f}"
        rows.append((cell(title), f"{metric.value:.2f}", interval))
    return ModelCard.from_template(
        data,
        template_str=(files("zsbench.reports") / "model_card.md").read_text(encoding="utf-8"),
        title=cell(title),
        summary=summary(result),
        warnings=list(map(cell, warnings(result))),
        metrics=rows,
        version=plain(result.environment.zsbench),
        images=result.dataset.images,
        split=cell(result.dataset.split),
        records=records,
        about=[(cell(word), cell(text)) for word, text in about(result, license)],
        repo=plain(repo),
        checkpoint=checkpoint,
        method=plain(result.method.name),
        dataset=plain(result.dataset.name),
        command=plain(result.command),
    )


def evaluated(result: Result, name: str, title: str) -> EvalResult:
    """A metric in the Hub's form."""
    return EvalResult(
        task_type=TASK,
        task_name=f"zero-shot semantic segmentation, {plain(result.setting)}",
        dataset_type=plain(result.dataset.name),
        dataset_name=plain(result.dataset.name),
        dataset_split=plain(result.dataset.split),
        metric_type=name,
        metric_name=title,
        metric_value=round(result.metrics[name].value, 4),
    )


def summary(result: Result) -> str:
    unseen = len(result.dataset.unseen)
    classes = f"{result.dataset.classes - unseen} seen and {unseen} unseen classes"
    return f"Zero-shot semantic segmentation: {cell(result.method.name)} on {cell(result.dataset.name)}, {classes}."


def warnings(result: Result) -> list[str]:
    """What takes a number its worth."""
    found = [result.note] if result.note else []
    if result.random:
        found.append("The CLIP weights were random: these numbers mean nothing.")
    if not result.dataset.complete:
        found.append(f"Only {result.dataset.images} images of the split were evaluated: a trial.")
    if result.method.oracle:
        found.append("The ground truth was used: an upper bound.")
    return found


def about(result: Result, license: str | None) -> list[tuple[str, str]]:
    """What the numbers depend on."""
    method, training = result.method, result.training
    found = [("licence", license or NOT_STATED), ("setting", result.setting), ("seed", str(result.seed))]
    if method.variant:
        found.append(("variant", method.variant))
    if method.clip and method.weights:
        found.append(("CLIP", f"{method.clip}, weights {method.weights.source}"))
        found.append(("data of the CLIP", method.weights.trained_on or "not known"))
    if training is not None:
        found.append(
            ("learnt from", f"the training split of {training.dataset}, {training.recipe.get('iterations')} steps")
        )
        if training.validation is not None:
            found.append(("weights", f"the {training.validation.weights}, by validation on held-out training images"))
    unseen = ", ".join(result.dataset.unseen) or "none"
    return [*found, ("unseen classes", unseen), ("class names", result.dataset.names)]
