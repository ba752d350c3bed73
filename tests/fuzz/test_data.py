"""Archives, cards, COCO's JSON, MATLAB files, embeddings and words: read rightly, or refused in a sentence."""

from __future__ import annotations

import io
import json
import shutil
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from fuzzing import altered, as_json, from_bytes, fuzz, outside
from PIL import Image

from zsbench.clip.text import read_vocabulary
from zsbench.clip.word_vectors import read_word_vectors
from zsbench.data.archives import unpack
from zsbench.data.card import load_card
from zsbench.data.coco import Annotations
from zsbench.data.coco_results import read_proposals
from zsbench.data.label_map import LabelMap
from zsbench.data.mapping import read_mapping
from zsbench.data.mat import read_mat
from zsbench.data.predictions import find_predictions
from zsbench.runs.request import Request
from zsbench.runs.resolve import resolve
from zsbench.runs.sweep_file import read_sweep, sweep_cells

pytestmark = pytest.mark.slow
NAMES = (
    "a/1.txt",
    "2.txt",
    "../x",
    "/x",
    ".",
    "",
    "a/../../x",
    "C:x",
    "a\\x",
    "a//b",
    "é",
    "a/1.txt/x",
    "x" * 300,
    "\0",
)


def archive(rng) -> bytes:
    """A zip or a tar file of members with any names, kinds and sizes, sometimes damaged."""
    stream = io.BytesIO()
    names = rng.choice(NAMES, 3).tolist()
    if rng.random() < 0.5:
        with zipfile.ZipFile(stream, "w", int(rng.choice([0, 8, 12, 14]))) as packed:
            for name in names:
                info = zipfile.ZipInfo("x")
                info.filename = name  # as given, where the constructor would change it
                info.external_attr = int(rng.choice([0, 0o100644, 0o120777, 0o010644])) << 16
                packed.writestr(info, b"content" * int(rng.integers(0, 9)))
    else:
        with tarfile.open(fileobj=stream, mode=str(rng.choice(["w", "w:gz", "w:xz"]))) as tape:
            for name in names:
                info = tarfile.TarInfo(name.replace("\0", ""))
                info.type, info.linkname = bytes(rng.choice([b"0", b"0", b"0", b"1", b"2", b"3", b"5"])), "/etc/passwd"
                info.size = 4 if info.type == b"0" else 0
                tape.addfile(info, io.BytesIO(b"four"))
    return from_bytes([stream.getvalue()])(rng) if rng.random() < 0.5 else stream.getvalue()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_archives(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / "a.bin").touch()
    before = outside(inner)

    def read(content: bytes) -> None:
        shutil.rmtree(inner)
        (tmp_path / "a.bin").write_bytes(content)
        inner.mkdir()
        try:
            unpack(tmp_path / "a.bin", inner)
        finally:
            assert outside(inner) == before

    fuzz(archive, read)


CARD = {
    **{"name": "mine", "classes": ["a", "b"], "values": [0, 1], "ignored": [255], "unseen": ["b"], "background": "a"},
    **{"palette": [[0, 0, 0], [1, 1, 1]], "root": ".", "names": {"n": ["a; c", "b"]}, "default_names": "plain"},
    **{"splits": {split: {"images": "i/{id}.*", "masks": "m/{id}.png", "list": ""} for split in ("train", "val")}},
    **{"protocol": {"short_side": 32, "crop": 32, "stride": 16}, "recipe": {"iterations": 1, "scale": [0.5, 2]}},
    **{"clip": "miniworld", "templates": "single"},
}
SWEEP = {"grid": [{"method": ["maskclip", "zegclip"], "seed": [0, 1], "recipe": {"crop": 32}}], "out": "x", "jobs": 1}
MAPPING = {"values": {"0": "a", "7": 1}, "abstained": [255]}


def toml(value, top: bool = True) -> str:
    """A document as TOML, as far as it can be said so."""
    match value:
        case dict() if top:
            return "".join(f"{json.dumps(key)} = {toml(each, False)}\n" for key, each in value.items())
        case dict():
            return "{" + ", ".join(f"{json.dumps(key)} = {toml(each, False)}" for key, each in value.items()) + "}"
        case list():
            return "[" + ", ".join(toml(each, False) for each in value) + "]"
        case None:
            return '""'
        case float():
            return str(value).replace("e+", "e")
        case _:
            return json.dumps(value)


def document(content):
    def make(rng) -> bytes:
        text = toml(altered(content, rng)).replace('"deep"', "[" * 3000 + "]" * 3000)
        text = text.encode("utf-8", "surrogatepass")
        return from_bytes([text])(rng) if rng.random() < 0.3 else text

    return make


def test_cards(tmp_path: Path) -> None:
    path = tmp_path / "card.toml"
    for folder, name in (("i", "1.png"), ("m", "1.png")):
        (tmp_path / folder).mkdir()
        Image.fromarray(np.zeros((8, 8, 3) if folder == "i" else (8, 8), np.uint8)).save(tmp_path / folder / name)

    def read(content: bytes) -> None:
        path.write_bytes(content)
        dataset = load_card(path)(tmp_path)
        dataset.validate()
        resolve(Request(method="maskclip", dataset=str(path), data_root=tmp_path))
        for split in dataset.splits:
            for image_id in dataset.ids(split):
                sample = dataset.read(split, image_id)
                assert sample.label.dtype == np.int32 and sample.label.max() < len(dataset.classes)

    fuzz(document(CARD), read)


def test_sweeps_and_mappings(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"

    def sweep(content: bytes) -> None:
        path.write_bytes(content)
        sweep_cells(read_sweep(path), path)

    def mapping(content: bytes) -> None:
        path.write_bytes(content)
        read_mapping(str(path), ["a", "b"])

    fuzz(document(SWEEP), sweep, 10)
    fuzz(document(MAPPING), mapping, 10)


REGION = {"size": [4, 5], "counts": [3, 5, 12]}
COCO = {
    "images": [
        {"id": 1, "file_name": "x/1.jpg", "height": 4, "width": 5},
        {"id": 2, "file_name": "2.jpg", "height": 3, "width": 3},
    ],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": 5, "segmentation": REGION},
        {"id": 2, "image_id": 1, "category_id": 2, "area": 4, "segmentation": [[0, 0, 3, 0, 3, 3, 0, 3]]},
        {"id": 3, "image_id": 2, "category_id": 2, "segmentation": {"size": [3, 3], "counts": "054"}},
    ],
}  # fmt: skip
RESULTS = [
    {"image_id": 1, "category_id": 1, "score": 0.5, "segmentation": REGION},
    {"file_name": "x/2.jpg", "category_id": 0, "segmentation": {"size": [4, 5], "counts": "R13B"}},
]


def test_annotations_of_coco(tmp_path: Path) -> None:
    path = tmp_path / "c.json"

    def read(content) -> None:
        path.write_bytes(as_json(content))
        opened = Annotations(labels=LabelMap.consecutive(3), image="{id}.jpg", files=("c.json",)).open(tmp_path)
        for image_id in opened.ids():
            opened.pair(image_id)
            assert opened.raw(image_id).dtype == np.int32

    fuzz(lambda rng: altered(COCO, rng), read)


def test_results_of_coco(tmp_path: Path) -> None:
    path = tmp_path / "r.json"

    def read(content) -> None:
        path.write_bytes(as_json(content))
        for segments in read_proposals(path).values():
            assert segments.masks().shape[1:] == segments.size
        found = find_predictions(path, ["1", "2"])
        for image_id in found.found:
            assert found.read(image_id, LabelMap.consecutive(2)).shape == (4, 5)

    fuzz(lambda rng: altered(RESULTS, rng), read)


def mat(value: np.ndarray, kind: int, stored: int) -> bytes:
    """A MAT-file with a structure `GTcls` whose field `Segmentation` is an array."""

    def element(number: int, data: bytes) -> bytes:
        return struct.pack("<II", number, len(data)) + data + b"\0" * (-len(data) % 8)

    def matrix(kind: int, shape, name: bytes, rest: bytes) -> bytes:
        flags, sides = struct.pack("<II", kind, 0), np.array(shape, "<i4").tobytes()
        return element(14, element(6, flags) + element(5, sides) + element(1, name) + rest)

    array = matrix(kind, value.shape, b"", element(stored, value.tobytes("F")))
    names = element(5, struct.pack("<i", 16)) + element(1, b"Segmentation".ljust(16, b"\0"))
    return b"MATLAB 5.0".ljust(124) + b"\0\1IM" + matrix(2, (1, 1), b"GTcls", names + array)


def test_files_of_matlab(tmp_path: Path) -> None:
    path = tmp_path / "x.mat"
    seeds = [mat(np.ones((4, 5), "u1"), 9, 2), mat(np.ones((4, 5), "<f8"), 6, 9)]

    def read(content: bytes) -> None:
        path.write_bytes(content)
        assert isinstance(read_mat(path), dict)

    fuzz(from_bytes(seeds), read)


def test_embeddings_and_words(tmp_path: Path) -> None:
    npy, npz = io.BytesIO(), io.BytesIO()
    np.save(npy, np.eye(3, dtype=np.float16))
    np.savez(npz, names=np.array(["a", "b", "c"]), vectors=np.eye(3, dtype=np.float32))

    def embeddings(content: bytes) -> None:
        (tmp_path / "e.npy").write_bytes(content)
        read_vocabulary(tmp_path / "e.npy", "abc", [True] * 3, 3)

    def words(content: bytes) -> None:
        (tmp_path / "w.npz").write_bytes(content)
        read_word_vectors(tmp_path / "w.npz")

    fuzz(from_bytes([npy.getvalue()]), embeddings, 10)
    fuzz(from_bytes([npz.getvalue()]), words, 10)
