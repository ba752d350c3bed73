"""Classes of the user's own choice: which method is told them, and as what dataset a plan takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from zsbench import registry
from zsbench.checkpoint import read_info
from zsbench.class_names import PLAIN
from zsbench.data.card import dataset_class
from zsbench.dataset import Dataset, Defaults, Sample
from zsbench.errors import UserError
from zsbench.runs.request import DEFAULT_PREDICTOR, Request
from zsbench.runs.resolve import is_dataset, learnt_templates, resolve
from zsbench.utils.colours import distinct_palette


class OwnClasses(Dataset):
    """Classes without images."""

    name = "photos"

    def ids(self, split: str) -> Sequence[str]:
        return ()

    def read(self, split: str, image_id: str) -> Sample:
        raise UserError(f"{self.name} has no images.")


def names_in(classes: Sequence[str] | str) -> list[str]:
    """The names in a text, which has commas between them, or in a list. Raises `UserError` for what is none."""
    names = [word.strip() for word in classes.split(",")] if isinstance(classes, str) else list(classes)
    if wrong := [each for each in names if not isinstance(each, str) or not each.strip()]:
        raise UserError(f"classes: {wrong[0]!r} is no name; expected texts, such as ['cat', 'grass'].")
    return names


def own_classes(classes: Sequence[str] | str, home: type[Dataset] | None = None) -> Dataset:
    """The dataset of `classes` (a text has commas between them), none of them learnt; CLIP, protocol and a method's preset
    are those of `home`, if any.

    Raises `UserError` where there is no class, one twice, or one that is no text.
    """
    classes = names_in(classes)
    if not classes or len(set(classes)) < len(classes):
        raise UserError(f"classes {', '.join(classes) or 'nothing'}: expected one name or more, each of them once.")
    attributes = {
        "name": home.name if home else OwnClasses.name,
        "like": home.like if home else OwnClasses.like,
        "classes": tuple(classes),
        "unseen": tuple(classes),
        "palette": distinct_palette(len(classes)),
        "defaults": replace(home.defaults if home else Defaults(), names=PLAIN),
    }
    return type("OwnClasses", (OwnClasses,), attributes)()


def own_request(
    classes: Sequence[str] | str, method: str | None, dataset: str | None, given: Mapping[str, Any]
) -> tuple[Request, Dataset]:
    """What is asked of an image, and the dataset of `classes`.

    Where nothing is said, method, dataset and templates are those of the checkpoint; without one, the method is a
    training-free one, and CLIP the usual one. Raises `UserError` for any unknown word.
    """
    request = Request.of("predict", given)
    for file in request.plugin:
        registry.add_file(file)
    path, learnt = request.checkpoint, None
    if path is not None and path.suffix == ".safetensors":
        learnt = read_info(path)
        method = method or learnt.method
        dataset = dataset or (learnt.dataset if is_dataset(learnt.dataset) else None)
    elif path is not None and method is None:
        raise UserError(f"{path} does not say to which method it belongs: give --method.")
    own = own_classes(classes, dataset_class(dataset) if dataset else None)
    known = {
        "method": method or DEFAULT_PREDICTOR,
        "dataset": own.name,
        "templates": request.templates or (learnt_templates(learnt, path) if learnt and learnt.clip else None),
        "transfer": path is not None,
    }
    request = request.model_copy(update=known)
    resolve(request, own)
    return request, own
