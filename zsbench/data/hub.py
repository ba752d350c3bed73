"""Data sets of the Hugging Face Hub, and local copies of them, with a column of images and one of labels.

Through the library `datasets`; images are taken as they are stored, never compressed anew.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zsbench.data.conversion import encode_png
from zsbench.data.found import Found, Picture, files_called, files_ending, split_of
from zsbench.data.image import FORMATS
from zsbench.data.pairs import Meaning, class_file, read_values
from zsbench.errors import UserError
from zsbench.utils.documents import read_json
from zsbench.utils.extras import optional
from zsbench.utils.files import make_folder, write_bytes

EXTRA = "import"
LARGEST = 65_535
"""The largest value of a PNG of 16 bits."""
HUB = "hf:"
NO_SCRIPTS = 4
"""The version of `datasets` from which on no code of a data set is run."""
ID2LABEL = "id2label.json"
"""Where data sets for segmentation on the Hub list their classes."""
IMAGE_COLUMNS = ("image", "img", "images", "photo", "rgb", "pixel_values", "input", "jpg")
LABEL_COLUMNS = (
    "label", "labels", "mask", "masks", "annotation", "annotations", "segmentation", "segmentation_mask", "semantic",
    "semantic_segmentation", "label_map", "labelmap", "seg", "gt", "ground_truth", "target", "png",
)  # fmt: skip


@contextmanager
def loading(what: str, advice: str) -> Iterator[Any]:
    """The library `datasets`, without its progress bars; what goes wrong, such as a network, becomes a `UserError`.

    Raises it, too, for a version that may run a script of the data set's.
    """
    library = optional("datasets", EXTRA)
    if int(library.__version__.partition(".")[0]) < NO_SCRIPTS:
        raise UserError(
            f"datasets {library.__version__} may run code that comes with a data set: expected version {NO_SCRIPTS} or "
            f"later. pip install 'datasets>={NO_SCRIPTS}'"
        )
    library.disable_progress_bars()
    try:
        yield library
    except (UserError, MemoryError):
        raise
    except Exception as error:  # of datasets, huggingface_hub, pyarrow, and what carries the network
        said = str(error).strip().partition("\n")[0]
        raise UserError(f"{what} cannot be read ({type(error).__name__}: {said}). {advice}") from None


def read_hub(spec: str, classes: Sequence[str], staging: Path) -> Found:
    """`hf:OWNER/NAME`, or `hf:OWNER/NAME:CONFIG`, fetched and laid out in `staging`."""
    name, _, config = spec.removeprefix(HUB).partition(":")
    if name.count("/") != 1 or not all(name.split("/")):
        raise UserError(
            f"{spec!r}: expected hf:OWNER/NAME, as in the address of the data set, or hf:OWNER/NAME:CONFIG."
        )
    advice = (
        "Is the name right, and the Hub within reach? One that is gated needs `hf auth login`; a local copy of its "
        "Parquet files can be imported as well."
    )
    with loading(spec, advice) as library:
        data = library.load_dataset(name, config or None)
        meaning = meaning_of(data, classes, [id2label_of(name)] if not classes else [])
        hub = optional("huggingface_hub", EXTRA)
        fetched = [Path(library.config.HF_DATASETS_CACHE), Path(hub.constants.HF_HUB_CACHE)]
        return lay_out(spec, data, meaning, fetched, staging)


def id2label_of(name: str) -> Path | None:
    """The list of classes in a repository, if it has one."""
    hub = optional("huggingface_hub", EXTRA)
    if not hub.file_exists(name, ID2LABEL, repo_type="dataset"):
        return None
    return Path(hub.hf_hub_download(name, ID2LABEL, repo_type="dataset"))


def read_copy(folder: Path, classes: Sequence[str], staging: Path) -> Found | None:
    """A local copy: Parquet files, or what `save_to_disk` of `datasets` wrote."""
    parquet = files_ending(folder, ".parquet")
    saved = files_called(folder, "dataset_dict.json", "state.json")
    if not parquet and not saved:
        return None
    with loading(str(folder), "Is it whole? Fetch it again.") as library:
        if parquet:
            splits: dict[str, list[str]] = {}
            for path in parquet:
                words = PurePosixPath(path.relative_to(folder).as_posix().replace("-", "/").replace("_", "/"))
                splits.setdefault(split_of(words.with_suffix("") / "."), []).append(str(path))
            data = library.load_dataset("parquet", data_files=splits, cache_dir=str(staging / "cache"))
        else:
            data = library.load_from_disk(str(min(saved, key=lambda path: len(path.parts)).parent))
        meaning = meaning_of(data, classes, files_called(folder, ID2LABEL))
        meaning = meaning or class_file(folder)
        return lay_out(str(folder), data, meaning, [folder], staging)


def meaning_of(data: Any, classes: Sequence[str], lists: Sequence[Path | None]) -> Meaning | None:
    """What label values mean: as asked, by a list of classes, or by names among the features."""
    if classes:
        return Meaning.counted("--classes", classes)
    for path in filter(None, lists):
        content = read_json(path, "list of classes")
        try:
            by_value = sorted((int(value), str(name)) for value, name in content.items())
        except (AttributeError, ValueError):
            raise UserError(f'{path}: expected an object of names by value, {{"0": "road", ...}}.') from None
        return Meaning(
            str(path), tuple(name for _, name in by_value), {value: index for index, (value, _) in enumerate(by_value)}
        )
    features = first(data).features
    label = columns(str(data), features)[1]
    names = class_names(features[label])
    return Meaning.counted(f"the column {label}", names) if names else None


def first(data: Any) -> Any:
    """A split of a dictionary of splits, or the data set itself."""
    return next(iter(data.values())) if isinstance(data, Mapping) else data


def class_names(feature: Any) -> list[str]:
    """The names of a ClassLabel, however deep in lists it stands."""
    while feature is not None and not hasattr(feature, "names"):
        feature = getattr(feature, "feature", None)
    return list(feature.names) if feature is not None else []


def columns(what: str, features: Mapping[str, Any]) -> tuple[str, str]:
    """The columns of images and of labels. Raises `UserError` naming all there are."""
    held = [name for name, feature in features.items() if may_hold_pictures(feature)]
    pictures = [name for name in held if type(features[name]).__name__ == "Image"]
    image = next((name for name in (*IMAGE_COLUMNS, *pictures) if name in held), None)
    others = [name for name in held if name != image]
    label = next((name for name in (*LABEL_COLUMNS, *pictures) if name in others), None)
    if image is None or label is None:
        raise UserError(
            f"{what}: no column of images and one of label maps among {', '.join(features)}. Rename them to image and label."
        )
    return image, label


def may_hold_pictures(feature: Any) -> bool:
    """Whether a column can be one of images or label maps: pictures, bytes, or numbers in rows."""
    kind = type(feature).__name__
    return kind != "ClassLabel" and (kind != "Value" or "binary" in feature.dtype)


def lay_out(what: str, data: Any, meaning: Meaning | None, homes: Sequence[Path], staging: Path) -> Found:
    """Write the rows of a data set as files, images beside masks. `homes`: folders where files lie that its rows name."""
    image, label = columns(what, first(data).features)
    if meaning is None:
        raise UserError(
            f'{what}: nothing says what its label values mean. Give --classes "road, sky, ..." in their order.'
        )
    library = optional("datasets", EXTRA)
    pictures: list[Picture] = []
    for name, rows in data.items() if isinstance(data, Mapping) else [("", data)]:
        split = split_of(PurePosixPath(name) / ".")
        for column in (image, label):
            if type(rows.features[column]).__name__ == "Image":
                rows = rows.cast_column(column, library.Image(decode=False))
        taken = {picture.id for picture in pictures if picture.split == split}
        for number, row in enumerate(rows):
            key = id_of(row[image], number, taken)
            folder = make_folder(staging / "rows" / split)
            stored = bytes_of(what, row[image], homes)
            photo, mask = folder / f"{key}{suffix_of(what, stored, number)}", folder / f"{key}.mask"
            write_bytes(photo, stored)
            write_bytes(mask, bytes_of(what, row[label], homes))
            pictures.append(Picture(split, key, photo, partial(read_values, mask, meaning)))
    note = f"images from the column {image}, labels from {label}, classes from {PurePosixPath(meaning.source).name}"
    return Found("Hugging Face data set", meaning.classes, pictures, notes=[note])


def id_of(value: Any, number: int, taken: set[str]) -> str:
    """The name of a file, where it has one that no other has, else a number."""
    name = PurePosixPath(str(value.get("path") or "")).stem if isinstance(value, Mapping) else ""
    key = name if name and name not in taken else f"{number:06d}"
    taken.add(key)
    return key


def whole_numbers(what: str, value: Any) -> NDArray[Any]:
    """Label values that a PNG can hold; raises `UserError` for others, such as the -100 of a loss."""
    values = np.asarray(value)
    if (
        values.ndim != 2
        or values.dtype.kind not in "iu"
        or values.min(initial=0) < 0
        or values.max(initial=0) > LARGEST
    ):
        raise UserError(
            f"{what}: a row's labels have shape {values.shape} of {values.dtype}, from {values.min(initial=0)} to "
            f"{values.max(initial=0)}; expected (height, width) whole numbers in 0..{LARGEST}, 255 where nobody scores."
        )
    return values


def bytes_of(what: str, value: Any, homes: Sequence[Path]) -> bytes:
    """A picture as it is stored; label values that are numbers become a PNG.

    Raises `UserError` where a row names a file outside `homes`: a data set does not say what else of a disk is read.
    """
    if not isinstance(value, Mapping):
        return value if isinstance(value, bytes) else encode_png(whole_numbers(what, value))
    if value.get("bytes") is not None:
        return bytes(value["bytes"])
    path = Path(str(value.get("path"))).resolve()
    if not any(path.is_relative_to(home.resolve()) for home in homes):
        raise UserError(f"{what}: a row names the file {value.get('path')}, which is not of the data set.")
    return path.read_bytes()


def suffix_of(what: str, stored: bytes, number: int) -> str:
    try:
        return "." + (Image.open(io.BytesIO(stored), formats=FORMATS).format or "png").lower()
    except OSError:
        raise UserError(f"{what}: row {number} has no image in a known format.") from None
