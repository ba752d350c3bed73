"""Runs on the Hub: what is pushed is what is pulled, whatever is wrong is one sentence, and nobody's code is run.

The Hub is a stand-in on this machine, with the endpoints that huggingface_hub calls and no others.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import yaml
from huggingface_hub import ModelCard
from torch import nn
from toys import build_result, recorded_result, some_records

import zsbench
from zsbench.checkpoint import CheckpointInfo, save_checkpoint
from zsbench.errors import UserError
from zsbench.metrics.records import Records
from zsbench.reports import hub
from zsbench.utils.files import sha256


def branch_of(name, revision="main"):
    return name if revision == "main" else f"{name}@{revision}"


class Hub(BaseHTTPRequestHandler):
    """Keeps repositories, and their branches as `NAME@BRANCH`, as dictionaries of files. The token `right` may write."""

    repos: dict[str, dict[str, bytes]] = {}
    commit = "0" * 40

    def log_message(self, *words):
        pass

    def answer(self, content, status=200, **headers):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, status, code):
        self.answer({"error": code}, status, X_Error_Code=code, X_Error_Message=code)

    def do_POST(self):
        sent = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/api/validate-yaml":
            return self.answer({"errors": [], "warnings": []})
        if self.headers["Authorization"] != "Bearer right":
            return self.refuse(401, "Unauthorized")
        if self.path == "/api/repos/create":
            asked = json.loads(sent)
            name = f"{asked.get('organization') or 'me'}/{asked['name']}"
            if name in self.repos:
                return self.answer({"error": "exists", "url": self.url(name)}, 409)
            self.repos[name] = {}
            return self.answer({"url": self.url(name), "name": name})
        name = "/".join(self.path.split("/")[3:5])
        if name not in self.repos:
            return self.refuse(404, "RepoNotFound")
        branch = branch_of(name, self.path.split("/")[6])
        if "/branch/" in self.path:
            self.repos.setdefault(branch, dict(self.repos[name]))
            return self.answer({})
        if branch not in self.repos:
            return self.refuse(404, "RevisionNotFound")
        if "/preupload/" in self.path:
            modes = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(sent)["files"]
            ]
            return self.answer({"files": modes})
        assert "/commit/" in self.path, self.path
        for line in map(json.loads, sent.splitlines()):
            if line["key"] == "file":
                self.repos[branch][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            if line["key"] == "deletedFile":
                del self.repos[branch][line["value"]["path"]]
        return self.answer({"commitUrl": f"{self.url(name)}/commit/{self.commit}", "commitOid": self.commit})

    def do_GET(self):
        words = self.path.partition("?")[0].strip("/").split("/")
        if words[0] == "api":
            name = "/".join(words[2:4])
            if name not in self.repos:
                return self.refuse(404, "RepoNotFound")
            branch = branch_of(name, *words[5:])
            if branch not in self.repos:
                return self.refuse(404, "RevisionNotFound")
            siblings = [{"rfilename": path} for path in self.repos[branch]]
            return self.answer({"id": name, "sha": self.commit, "siblings": siblings})
        branch, path = branch_of("/".join(words[:2]), words[3]), "/".join(words[4:])
        content = self.repos[branch].get(path)
        if content is None:
            return self.refuse(404, "EntryNotFound")
        return self.answer(content, ETag=f'"{hashlib.sha1(content).hexdigest()}"', X_Repo_Commit=self.commit)

    do_HEAD = do_GET

    def url(self, name):
        return f"http://{self.headers['Host']}/{name}"


@pytest.fixture
def remote(monkeypatch):
    Hub.repos = {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_TOKEN", "right")
    yield Hub.repos
    server.shutdown()
    server.server_close()


def info(method="m"):
    return CheckpointInfo(
        zsbench_version="0", method=method, options={}, clip=None, clip_sha256=None, dataset="d", classes=["x", "y"],
        unseen=["y"], names_sha256="0" * 64, templates="single", setting="inductive", seed=0, recipe={},
    )  # fmt: skip


@pytest.fixture
def run(tmp_path):
    """The folder of a finished run, as small as it may be."""
    folder = tmp_path / "run"
    folder.mkdir()
    records = Records.of(["a", "b"], [np.array([[0, 0, 9], [1, 0, 3]]), np.array([[1, 1, 5], [0, 1, 2]])])
    records.save(folder / "records.npz")
    save_checkpoint(folder / "checkpoint.safetensors", nn.Linear(2, 2), info())
    result = recorded_result(records)
    method = result.method.model_copy(update={"checkpoint_sha256": sha256(folder / "checkpoint.safetensors")})
    result.model_copy(update={"method": method}).save(folder / "result.json")
    (folder / "secret.py").write_text("print('not pushed')")
    (folder / "run.log").write_text("/home/me")
    return folder


def test_what_is_pushed_is_what_is_pulled(remote, run, tmp_path):
    assert zsbench.push(run, "me/best-model", license="mit").endswith("/me/best-model")
    assert remote["me/best-model"].keys() == {"README.md", "result.json", "records.npz", "checkpoint.safetensors"}
    remote["me/best-model"]["evil.py"] = b"raise SystemExit"
    folder = zsbench.pull("me/best-model", tmp_path / "pulled")
    pulled = {path.name for path in folder.iterdir()}
    assert pulled == {"README.md", "result.json", "records.npz", "checkpoint.safetensors"}
    for name in pulled - {"README.md"}:
        assert (folder / name).read_bytes() == (run / name).read_bytes()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".pull")] == []
    zsbench.push(run, "me/best-model")  # again, into what is there


def test_what_another_run_left_in_the_repository_goes(remote, run, tmp_path):
    zsbench.push(run, "me/m")
    remote["me/m"]["notes.txt"] = b"mine"
    (run / "checkpoint.safetensors").unlink()
    zsbench.push(run, "me/m")
    assert remote["me/m"].keys() == {"README.md", "result.json", "records.npz", "notes.txt"}
    assert not (zsbench.pull("me/m", tmp_path / "pulled") / "checkpoint.safetensors").exists()


def test_a_branch_is_made_where_it_is_not_there(remote, run, tmp_path):
    for _ in range(2):
        zsbench.push(run, "me/m", revision="v2")
    assert remote["me/m"] == {} and "result.json" in remote["me/m@v2"]
    assert (zsbench.pull("me/m", tmp_path / "pulled", revision="v2") / "result.json").exists()
    with pytest.raises(UserError, match=r"me/m: the Hub has no such revision of it\..*--revision"):
        zsbench.pull("me/m", tmp_path / "other", revision="v3")


def test_the_card_has_what_the_hub_reads_and_what_people_ask(remote, run):
    zsbench.push(run, "me/m", license="cc-by-4.0")
    text = remote["me/m"]["README.md"].decode()
    card = ModelCard(text)
    result = zsbench.Result.load(run / "result.json")
    assert (card.data.license, card.data.library_name, card.data.pipeline_tag) == (
        "cc-by-4.0",
        "zsbench",
        "image-segmentation",
    )
    found = {each.metric_type: each for each in card.data.eval_results}
    assert found["hIoU"].metric_value == pytest.approx(result.metrics["hIoU"].value, abs=1e-4)
    assert (found["hIoU"].dataset_name, found["hIoU"].dataset_split) == ("d", "val")
    assert "model-index" in yaml.safe_load(text.split("---")[1])
    assert "zsbench pull me/m --out pulled" in text and "--checkpoint pulled/checkpoint.safetensors" in text
    assert f"| {result.metrics['mIoU'].low:.2f} to" in text and "| unseen classes | y |" in text
    assert "**Measured on 2 images" in text or result.note in text


def test_words_of_others_are_no_markup_in_a_card(remote, run):
    result = zsbench.Result.load(run / "result.json")
    bad = result.dataset.model_copy(update={"unseen": ["<script>", "a|b", "---\nlicense: stolen"]})
    result.model_copy(update={"dataset": bad, "command": "zsbench\n---\nrun"}).save(run / "result.json")
    zsbench.push(run, "me/m", license="mit")
    text = remote["me/m"]["README.md"].decode()
    assert "<script>" not in text and "a|b" not in text
    assert ModelCard(text).data.license == "mit" and "\nlicense: stolen" not in text


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("records.npz", "records.npz is not what result.json was computed from"),
        ("checkpoint.safetensors", "damaged"),
        ("result.json", "no valid result|not a readable"),
    ],
)
def test_what_was_changed_on_the_way_is_refused_and_leaves_nothing(remote, run, tmp_path, name, message):
    zsbench.push(run, "me/m")
    content = bytearray(remote["me/m"][name])
    if name == "records.npz":
        some_records(["a", "b"]).save(tmp_path / "other.npz")
        content = (tmp_path / "other.npz").read_bytes()
    else:
        content[-8 if name != "result.json" else 5] ^= 0xFF
    remote["me/m"][name] = bytes(content)
    with pytest.raises(UserError, match=message):
        zsbench.pull("me/m", tmp_path / "pulled")
    assert not (tmp_path / "pulled").exists() and not list(tmp_path.glob(".pull*"))


def test_a_checkpoint_of_something_else_is_refused(remote, run, tmp_path):
    save_checkpoint(run / "checkpoint.safetensors", nn.Linear(2, 2), info())
    with pytest.raises(UserError, match="is the checkpoint that"):
        zsbench.push(run, "me/m")
    save_checkpoint(run / "checkpoint.safetensors", nn.Linear(2, 2), info("other"))
    with pytest.raises(UserError, match="is of other,"):
        zsbench.push(run, "me/m")
    assert not remote


def test_a_training_free_run_has_no_checkpoint_to_use(remote, run):
    (run / "checkpoint.safetensors").unlink()
    zsbench.push(run, "me/m")
    assert "## Use" not in remote["me/m"]["README.md"].decode()


def test_not_being_logged_in_is_said(remote, run, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "wrong")
    with pytest.raises(UserError, match=r"me/m: you are not logged in to the Hub.*hf auth login"):
        zsbench.push(run, "me/m")


@pytest.mark.parametrize(
    ("repo", "message"),
    [
        ("me/absent", "me/absent: the Hub has no such repository"),
        ("a/b/c", "'a/b/c' is no name of a repository: expected OWNER/NAME"),
    ],
)
def test_a_repository_that_is_not_there_is_said(remote, tmp_path, repo, message):
    with pytest.raises(UserError, match=message):
        zsbench.pull(repo, tmp_path / "pulled")


def test_one_that_holds_something_else_is_said(remote, tmp_path):
    remote["me/bert"] = {"pytorch_model.bin": b"pickle"}
    with pytest.raises(UserError, match=r"me/bert holds no result\.json"):
        zsbench.pull("me/bert", tmp_path / "pulled")


def test_no_network_is_said(run, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    for attempt in (lambda: zsbench.push(run, "me/m"), lambda: zsbench.pull("me/m", tmp_path / "pulled")):
        with pytest.raises(UserError, match=r"me/m: http://127\.0\.0\.1:9 cannot be reached.*HF_ENDPOINT"):
            attempt()


def test_nothing_is_overwritten_and_what_is_no_run_is_not_pushed(remote, run, tmp_path):
    with pytest.raises(UserError, match="already holds result"):
        zsbench.pull("me/m", run)
    shutil.rmtree(run)
    with pytest.raises(UserError, match="no finished run"):
        zsbench.push(run, "me/m")


def test_one_image_has_no_interval_in_the_card():
    from zsbench.reports.model_card import model_card

    records = Records.of(["a"], [np.array([[0, 0, 9], [1, 0, 3], [1, 1, 2]])])
    text = str(model_card(recorded_result(records), "me/m", None, True, None))
    assert " | - |" in text and "nan" not in text


def test_what_takes_a_number_its_worth_stands_in_the_card():
    weights = {**build_result().method.weights.model_dump(), "random": True}
    method = {**build_result().method.model_dump(), "weights": weights, "oracle": True}
    from zsbench.reports.model_card import warnings

    said = " ".join(warnings(build_result(method=method)))
    assert "mean nothing" in said and "upper bound" in said


def test_files_are_those_that_a_run_leaves():
    from zsbench.runs.folder import BEST, CHECKPOINT, RECORDS, RESULT

    assert set(hub.FILES) == {BEST, CHECKPOINT, RECORDS, RESULT}
