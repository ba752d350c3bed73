"""What belongs to a checkpoint: a wrong pairing loads well and scores near zero, so it is refused before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from zsbench import registry
from zsbench.checkpoint import CheckpointInfo
from zsbench.class_names import NameSet, simplified
from zsbench.dataset import Dataset
from zsbench.errors import UserError
from zsbench.utils.files import sha256

if TYPE_CHECKING:
    from zsbench.clip.model import Clip
    from zsbench.clip.word_vectors import WordVectors
    from zsbench.method import Method, ReleasedCheckpoint

ON_PURPOSE = "or --transfer to evaluate it with another vocabulary on purpose"


def open_release(
    path: Path, method_class: type[Method], dataset: Dataset, transfer: bool
) -> tuple[CheckpointInfo, ReleasedCheckpoint]:
    """What a checkpoint of the method's own release says about itself, and its content.

    Raises `UserError` for a file that is none, and for one that was trained on other classes than those of `dataset`, unless
    `transfer`.
    """
    released = method_class.read_released(path)
    if released is None:
        raise UserError(
            f"{path} is no zsbench checkpoint (.safetensors) and none of {method_class.name}'s own release."
        )
    info = released_info(released, method_class, dataset)
    check_classes(info, path, method_class.name, dataset, transfer)
    if not transfer:
        check_numbers(released, path, dataset)
    return info, released


def check_numbers(released: ReleasedCheckpoint, path: Path, dataset: Dataset) -> None:
    """Raise `UserError` for a release that was trained on another number of classes; one too few is the background."""
    seen, classes = int(dataset.seen_mask.sum()), len(dataset.classes)
    wrong = refusal(released, seen, classes)
    if wrong and dataset.background is not None and refusal(released, seen - 1, classes - 1) is None:
        wrong = without_background(path, dataset, "the --dataset that it was trained on")
    if wrong:
        raise wrong


def refusal(released: ReleasedCheckpoint, seen: int, classes: int) -> UserError | None:
    """What a release has against so many classes."""
    try:
        released.check(seen, classes)
    except UserError as error:
        return error
    return None


def released_info(released: ReleasedCheckpoint, method_class: type[Method], dataset: Dataset) -> CheckpointInfo:
    """What a release says about itself; what it does not say is the default of the dataset that it was trained on.

    That is `dataset` where the file does not tell.
    """
    home = dataset if released.dataset is None else registry.load_dataset_class(released.dataset)(Path())
    names = None if released.classes is None else [simplified(name) for name in released.classes]
    known = names in (None, [simplified(name) for name in home.classes])
    return CheckpointInfo(
        zsbench_version="released",
        method=method_class.name,
        options=dict(released.options),
        clip=home.defaults.clip if method_class.needs_clip else None,
        clip_sha256=None,
        dataset=home.name if known else "other data",
        classes=list(home.classes if known else released.classes or ()),
        unseen=list(home.unseen),
        names_sha256=home.names().sha256,
        templates=home.defaults.templates,
        setting=released.setting,
        seed=0,
        recipe={},
    )


def check_classes(info: CheckpointInfo, path: Path, method: str, dataset: Dataset, transfer: bool) -> None:
    """Raise `UserError` for weights of another method and, unless `transfer`, of other classes or for other unseen ones."""
    if info.method != method:
        raise UserError(f"{path} holds weights of {info.method}, not of {method}: give --method {info.method}.")
    if tuple(info.classes) != dataset.classes and not transfer:
        if info.classes == [name for name in dataset.classes if name != dataset.background]:
            raise without_background(path, dataset, f"--dataset {info.dataset}")
        raise UserError(
            f"{path} was trained on {info.dataset} ({len(info.classes)} classes: {', '.join(info.classes[:3])}, ...), "
            f"not with the {len(dataset.classes)} classes of {dataset.name}. Give --dataset {info.dataset}, {ON_PURPOSE}."
        )
    if learnt := sorted(set(dataset.unseen) - set(info.unseen)) if not transfer else []:
        raise UserError(
            f"{path} was trained on {info.dataset} where {', '.join(learnt[:3])}{', ...' if len(learnt) > 3 else ''} "
            f"{'are' if len(learnt) > 1 else 'is'} seen, and {dataset.name} counts {'them' if len(learnt) > 1 else 'it'} "
            f"as unseen. Give the data set that it was trained on, {ON_PURPOSE}."
        )


def without_background(path: Path, dataset: Dataset, home: str) -> UserError:
    return UserError(
        f"{path} was trained without the background class {dataset.background!r} of {dataset.name}, and has no channel or "
        f"prototype for it: give {home}, {ON_PURPOSE}."
    )


def check_texts(info: CheckpointInfo, path: Path, names: NameSet, text_embeddings: Path | None) -> None:
    """Raise `UserError` where the classes would be put into words, or these into embeddings, otherwise than in training."""
    if info.names_sha256 != names.sha256:
        raise UserError(
            f"{path} was trained with other class names ({info.names or 'the default'}) than {names.name}: leave --classes "
            f"out, {ON_PURPOSE}."
        )
    learnt = info.text_embeddings_sha256
    if learnt is not None and (text_embeddings is None or sha256(text_embeddings) != learnt):
        raise UserError(f"{path} was trained with a file of text embeddings (sha256 {learnt}): give it, {ON_PURPOSE}.")


def check_vectors(info: CheckpointInfo, path: Path, words: WordVectors, transfer: bool) -> None:
    """Raise `UserError` where the word vectors of the classes are of another width than those that the checkpoint was
    trained with, or, unless `transfer`, of other words or numbers."""
    width = words.vectors.shape[1]
    if info.words_width not in (None, width):
        raise UserError(
            f"{path} was trained with word vectors of {info.words_width} numbers each, and those of {words.source} have "
            f"{width}: give the --words that it was trained with, or train again."
        )
    if info.words_sha256 not in (None, words.sha256) and not transfer:
        raise UserError(
            f"{path} was trained with other word vectors (sha256 {info.words_sha256}) than those of {words.source} "
            f"({words.sha256}): give the same --words, {ON_PURPOSE}."
        )


def check_clip(info: CheckpointInfo, path: Path, clip: Clip) -> None:
    """Raise `UserError` where the weights of CLIP are not those that the checkpoint was trained on."""
    if info.clip_sha256 not in (None, clip.weights.sha256):
        raise UserError(
            f"{path} was trained on the CLIP weights with sha256 {info.clip_sha256} ({info.clip}), but "
            f"{clip.weights.source} has {clip.weights.sha256}: give --clip and --weights as in training."
        )
