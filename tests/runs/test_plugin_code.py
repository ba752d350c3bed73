"""Which code a plugin is, and that two versions of one are two rows."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from zsbench import Method, registry
from zsbench.reports.rows import StoredResult
from zsbench.result import Code, Result
from zsbench.runs.plugin_code import code_of

SOURCE = '''
from zsbench import Method, register_method

@register_method("coded")
class Coded(Method):
    """Nothing."""

    def predict(self, images):
        return images
'''


@pytest.fixture(autouse=True)
def apart(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_files", [])
    monkeypatch.setattr(registry, "_classes", dict(registry._classes))
    monkeypatch.syspath_prepend(tmp_path)


def loaded(path):
    path.write_text(SOURCE)
    registry.add_file(path)
    return registry.load_method_class("coded")


def test_what_zsbench_brings_is_known_by_its_commit():
    assert code_of(registry.load_method_class("maskclip")) is None
    assert code_of(type(registry.load_dataset_class("miniworld")())) is None


def test_a_file_is_known_by_its_hash_and_by_where_it_was_committed(tmp_path):
    cls = loaded(tmp_path / "coded.py")
    free = code_of(cls)
    assert free is not None and free.name == "coded.py" and free.commit is None and len(free.sha256) == 64
    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    for words in (["init", "-q"], ["add", "coded.py"], ["commit", "-qm", "first"]):
        subprocess.run([*git, *words], check=True)
    clean = code_of(cls)
    assert clean.sha256 == free.sha256 and len(clean.commit) == 40 and clean.dirty is False
    (tmp_path / "coded.py").write_text(SOURCE + "# changed\n")
    assert code_of(cls).dirty is True and code_of(cls).sha256 != free.sha256


def test_of_a_package_every_file_counts(tmp_path):
    folder = tmp_path / "coded_package" / "inner"
    folder.mkdir(parents=True)
    for file in (folder / "__init__.py", folder.parent / "__init__.py"):
        file.touch()
    (folder / "plugin.py").write_text(SOURCE)
    try:
        cls = importlib.import_module("coded_package.inner.plugin").Coded
        before = code_of(cls)
        (folder.parent / "helper.py").write_text("x = 1")
        assert before.name == "coded_package" and before.sha256 != code_of(cls).sha256
    finally:
        for name in [name for name in sys.modules if name.startswith("coded_package")]:
            del sys.modules[name]


def test_a_class_of_a_notebook_is_known_by_its_text():
    made = type("Made", (Method,), {"__module__": "__nowhere__"})
    found = code_of(made)
    assert found == Code(name="Made, in a session", sha256=None)


def test_two_versions_are_two_rows_and_earlier_results_still_load(make_result, tmp_path):
    some_result = make_result()

    def with_code(digest):
        code = None if digest is None else Code(name="p.py", sha256=digest)
        return some_result.model_copy(update={"method": some_result.method.model_copy(update={"code": code})})

    rows = {StoredResult(with_code(digest), tmp_path).row for digest in (None, "a" * 64, "b" * 64, "a" * 64)}
    assert len(rows) == 3
    content = some_result.model_dump(mode="json")
    del content["method"]["code"], content["dataset"]["code"]
    assert Result.model_validate(content).method.code is None
