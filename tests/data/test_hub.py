"""Data sets of the Hub, by local copies of them: images as they are stored, labels by the classes that are named."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from zsbench.data.card import load_card
from zsbench.data.importing import Wishes, import_data
from zsbench.errors import UserError

datasets = pytest.importorskip("datasets", reason="datasets writes these inputs: pip install 'zsbench[import]'")
if datasets.__file__ is None:  # the folder of that name in the checkout
    pytest.skip("datasets writes these inputs: pip install 'zsbench[import]'", allow_module_level=True)

pyarrow = pytest.importorskip("pyarrow")
pytest.importorskip("pyarrow.parquet")

LABEL = np.repeat(np.array([1, 7, 0], np.uint8), 8)[:, None].repeat(20, 1)


def jpeg(number):
    stream = io.BytesIO()
    noise = np.random.default_rng(number).integers(0, 255, (*LABEL.shape, 3)).astype(np.uint8)
    Image.fromarray(noise).save(stream, "JPEG", quality=40)
    return stream.getvalue()


def rows(count, label, feature, photo=None):
    kind = datasets.ClassLabel(names=["indoors", "outdoors"])  # of the image as a whole
    columns = {
        "label": [0] * count,
        "image": [photo or {"bytes": jpeg(n), "path": f"photo{n}.jpg"} for n in range(count)],
        "mask": [label] * count,
    }
    features = {"label": kind, "image": datasets.Image(), "mask": feature, "number": datasets.Value("int32")}
    return datasets.Dataset.from_dict({**columns, "number": list(range(count))}, datasets.Features(features))


@pytest.fixture
def parquet(tmp_path):
    for split, count in (("train", 2), ("validation", 1)):
        (tmp_path / "copy/data").mkdir(parents=True, exist_ok=True)
        data = rows(count, Image.fromarray(LABEL), datasets.Image())
        data.to_parquet(tmp_path / f"copy/data/{split}-00000-of-00001.parquet")
    return tmp_path / "copy"


def imported(source, tmp_path, **wishes):
    out = tmp_path / "out/mine.toml"
    return import_data(str(source), out, Wishes(**wishes)), load_card(out)(None)


def test_parquet_with_a_list_of_classes_becomes_a_card_and_images_keep_their_bytes(parquet, tmp_path):
    with pytest.raises(UserError, match=r"nothing says what its label values mean\. Give --classes"):
        imported(parquet, tmp_path)
    (parquet / "id2label.json").write_text(json.dumps({"7": "flat_road", "1": "tree", "0": "unlabeled"}))
    said, dataset = imported(parquet, tmp_path)
    assert dataset.classes == ("tree", "flat road") and "ignored     unlabeled" in "\n".join(said)
    assert (list(dataset.ids("train")), list(dataset.ids("val"))) == (["photo0", "photo1"], ["photo0"])
    np.testing.assert_array_equal(dataset.label("val", "photo0"), np.array([-1, 0, *[-1] * 5, 1])[LABEL])
    assert dataset.pair("train", "photo1").image.read_bytes() == jpeg(1)
    (parquet / "id2label.json").write_text(json.dumps({"0": "unlabeled", "1": "tree"}))
    with pytest.raises(UserError, match=r"photo0\.mask: label value 7 is none of the expected .*id2label\.json"):
        imported(parquet, tmp_path / "again")
    (parquet / "id2label.json").write_text("[]")
    with pytest.raises(UserError, match=r"id2label\.json: expected an object of names by value"):
        imported(parquet, tmp_path / "again")


def test_labels_may_be_numbers_with_names_among_the_features(tmp_path):
    names = datasets.ClassLabel(names=["void", "tree", *"abcde", "road"])
    data = rows(1, LABEL.tolist(), datasets.List(datasets.List(names)))
    datasets.DatasetDict({"test": data}).save_to_disk(str(tmp_path / "saved"))
    _, dataset = imported(tmp_path / "saved", tmp_path)
    assert dataset.classes == ("tree", *"abcde", "road")
    np.testing.assert_array_equal(np.unique(dataset.label("test", "photo0")), [-1, 0, 6])


@pytest.mark.parametrize(("value", "kind"), [(-100, "int32"), (65_536, "int32"), (0.5, "float32")])
def test_numbers_that_are_no_values_of_labels_are_refused(tmp_path, value, kind):
    data = rows(1, np.full(LABEL.shape, value).tolist(), datasets.Array2D(LABEL.shape, kind))
    data.to_parquet(tmp_path / "train.parquet")
    with pytest.raises(
        UserError, match=r"a row's labels have shape .*; expected \(height, width\) whole numbers in 0\.\.65535"
    ):
        imported(tmp_path, tmp_path / "out", classes=("tree", "road"))


def test_columns_that_are_not_there_and_files_that_are_damaged_are_told(parquet, tmp_path):
    path = parquet / "data/train-00000-of-00001.parquet"
    rows(1, Image.fromarray(LABEL), datasets.Image()).remove_columns("mask").to_parquet(path)
    (parquet / "data/validation-00000-of-00001.parquet").unlink()
    with pytest.raises(UserError, match="no column of images and one of label maps among label, image, number"):
        imported(parquet, tmp_path, classes=("tree",))
    path.write_bytes(b"PAR1 and nothing")
    with pytest.raises(UserError, match=r"copy cannot be read \(\w+: .*\)\. Is it whole\? Fetch it again"):
        imported(parquet, tmp_path, classes=("tree",))


def test_a_hub_out_of_reach_is_one_message(tmp_path, monkeypatch):
    def fail(name, config):
        raise ConnectionError(f"Couldn't reach '{name}' on the Hub\nand much more")

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(
        UserError, match=r"^hf:a/b:c cannot be read \(ConnectionError: Couldn't reach 'a/b' on the Hub\)\."
    ):
        import_data("hf:a/b:c", tmp_path / "mine.toml", Wishes())
    assert not list(tmp_path.iterdir())


def test_what_is_fetched_is_read_like_a_copy(parquet, tmp_path, monkeypatch):
    import huggingface_hub

    data = rows(1, Image.fromarray(LABEL), datasets.Image())
    (tmp_path / "id2label.json").write_text(json.dumps({"0": "ground", "1": "tree", "7": "road"}))
    monkeypatch.setattr(datasets, "load_dataset", lambda name, config: datasets.DatasetDict({"train": data}))
    monkeypatch.setattr(huggingface_hub, "file_exists", lambda name, file, repo_type: True)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda name, file, repo_type: str(tmp_path / file))
    _, dataset = imported("hf:owner/name", tmp_path)
    assert dataset.classes == ("ground", "tree", "road") and dataset.defaults.protocol.split == "train"


COMMIT = "c" * 40


class Hub(BaseHTTPRequestHandler):
    """Answers as the Hub does what huggingface_hub and datasets ask for one data set, owner/name, in `folder`."""

    protocol_version = "HTTP/1.1"
    folder = None

    def answer(self, body, status=200, **headers):
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": len(content), "X-Repo-Commit": COMMIT, **headers}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def file(self, path):
        path = self.folder / path
        if not path.is_file():
            return self.answer({"error": "Entry not found"}, 404, **{"X-Error-Code": "EntryNotFound"})
        return self.answer(path.read_bytes(), ETag=f'"{hashlib.sha1(path.read_bytes()).hexdigest()}"')

    def tree(self, inner):
        listed = [
            {"type": "file" if each.is_file() else "directory", "size": each.stat().st_size, "oid": "d" * 40}
            | {"path": each.relative_to(self.folder).as_posix()}
            for each in sorted((self.folder / inner).iterdir())
        ]
        return self.answer(listed)

    def do_GET(self):
        path = urlsplit(self.path).path
        for revision in ("main", COMMIT):
            for start, reply in (
                (f"/datasets/owner/name/resolve/{revision}/", self.file),
                (f"/api/datasets/owner/name/tree/{revision}", lambda inner: self.tree(inner.strip("/"))),
                (
                    f"/api/datasets/owner/name/revision/{revision}",
                    lambda _: self.answer({"id": "owner/name", "sha": COMMIT}),
                ),
            ):
                if path.startswith(start):
                    return reply(path.removeprefix(start))
        return self.answer({"error": "Repository not found"}, 404, **{"X-Error-Code": "RepoNotFound"})

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


@pytest.mark.slow
def test_what_the_clients_of_the_hub_fetch_becomes_a_card(parquet, tmp_path):
    """Through all of datasets and huggingface_hub: only the Hub itself is another."""
    (parquet / "id2label.json").write_text(json.dumps({"0": "ground", "1": "tree", "7": "road"}))
    (parquet / "README.md").write_text("---\nlicense: mit\n---\n")
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OfFolder", (Hub,), {"folder": parquet}))
    Thread(target=server.serve_forever, daemon=True).start()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HOME": str(tmp_path / "home")}

    def run(name):
        command = [sys.executable, "-m", "zsbench", "data", "import", name, "--out", str(tmp_path / "mine.toml")]
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    absent = run("hf:owner/absent")
    assert absent.returncode == 2 and "hf:owner/absent cannot be read (DatasetNotFoundError:" in absent.stderr
    done = run("hf:owner/name")
    server.shutdown()
    assert done.returncode == 0, done.stderr
    assert (
        "3 images (2 train, 1 val); images from the column image, labels from mask, classes from id2label"
        in done.stdout
    )
    dataset = load_card(tmp_path / "mine.toml")(None)
    assert dataset.classes == ("ground", "tree", "road")
    np.testing.assert_array_equal(dataset.label("val", dataset.ids("val")[0]), np.array([0, 1, *[-1] * 5, 2])[LABEL])
    assert dataset.pair("train", dataset.ids("train")[1]).image.read_bytes() == jpeg(1)


def test_a_version_of_the_library_that_may_run_code_of_a_data_set_is_refused(parquet, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "__version__", "3.6.0")
    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **words: pytest.fail("it was asked for data"))
    with pytest.raises(UserError, match=r"datasets 3\.6\.0 may run code .* pip install 'datasets>=4'"):
        import_data(str(parquet), tmp_path / "card.toml", Wishes())


@pytest.mark.parametrize(
    ("name", "refused"), [("copy/inside.jpg", False), ("secret.jpg", True), ("copy/../secret.jpg", True)]
)
def test_a_row_that_names_a_file_elsewhere_on_the_disk_is_refused(tmp_path, name, refused):
    """Images of a copy are its own bytes, or files within it; nothing else is opened."""
    (tmp_path / "copy").mkdir()
    for file in ("copy/inside.jpg", "secret.jpg"):
        (tmp_path / file).write_bytes(jpeg(0))
    data = rows(1, Image.fromarray(LABEL), datasets.Image(), {"bytes": None, "path": str(tmp_path / name)})
    pyarrow.parquet.write_table(data.data.table, tmp_path / "copy/test-0.parquet")  # to_parquet puts the bytes in
    if refused:
        with pytest.raises(UserError, match=r"copy: a row names the file .*secret\.jpg, which is not of the data set"):
            imported(tmp_path / "copy", tmp_path, classes=("ground", "tree"))
    else:
        _, dataset = imported(tmp_path / "copy", tmp_path, classes=[*"abcdefgh"])
        assert len(dataset.ids("test")) == 1
