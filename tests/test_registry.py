"""Plugins are found without being imported, wherever they come from, and a broken one harms no other."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from zsbench import registry
from zsbench.errors import UserError

METHOD = '''
from zsbench.registry import register_method
from zsbench.method import Method

@register_method({name!r}, needs=({needs}))
class {cls}(Method):
    """{summary}

    More about it.
    """

    def predict(self, images):
        return images
'''
DATASET = '''
from zsbench.registry import register_dataset
from zsbench.dataset import Dataset

@register_dataset("{name}")
class {cls}(Dataset):
    """{summary}"""

    def ids(self, split):
        return []

    def read(self, split, image_id):
        raise KeyError(image_id)
'''


def method(name: str, cls: str = "Blob", summary: str = "Blobs.", needs: str = "") -> str:
    return METHOD.format(name=name, cls=cls, summary=summary, needs=needs)


def dataset(name: str, cls: str = "Pond", summary: str = "A pond.") -> str:
    return DATASET.format(name=name, cls=cls, summary=summary)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dedent(text), encoding="utf-8")
    return path


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing that a test registers outlives it, and what it installs is seen."""
    for cached in ("scan_installed", "entry_points"):
        monkeypatch.setattr(registry, cached, getattr(registry, cached).__wrapped__)
    monkeypatch.setattr(registry, "_files", [])
    monkeypatch.setattr(registry, "_classes", {})
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if "plugin" in name or name.startswith(("zsbench.methods.", "zsbench.datasets.")):
            del sys.modules[name]


@pytest.fixture
def built_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A further folder of built-in methods; plugins put there are `zsbench.methods.*`."""
    folder = tmp_path / "methods"
    folder.mkdir()
    package = importlib.import_module("zsbench.methods")
    monkeypatch.setattr(package, "__path__", [str(folder)])
    importlib.invalidate_caches()
    return folder


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the import path, as site-packages is."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


def install(site: Path, dist: str, group: str, **entries: str) -> None:
    """What pip leaves behind of a distribution with entry points."""
    info = site / f"{dist}-1.0.dist-info"
    write(info / "METADATA", f"Metadata-Version: 2.1\nName: {dist}\nVersion: 1.0\n")
    lines = [f"{name.replace('_', '-')} = {value}" for name, value in entries.items()]
    write(info / "entry_points.txt", "\n".join([f"[{group}]", *lines, ""]))


def one(name: str) -> registry.Plugin:
    [plugin] = [plugin for plugin in registry.plugins() if plugin.name == name]
    return plugin


def test_built_in_module_is_listed_and_loaded(built_in: Path) -> None:
    file = write(built_in / "blob_plugin.py", method("blob", summary="Blobs, blobs.", needs="'torch', 'no-such'"))
    plugin = one("blob")
    assert (plugin.kind, plugin.summary, plugin.source) == ("method", "Blobs, blobs.", "built-in")
    assert (plugin.location, plugin.needs, plugin.missing) == (
        file.resolve(),
        ("torch", "no-such"),
        ("no-such",),
    )
    assert "zsbench.methods.blob_plugin" not in sys.modules
    cls = registry.load_method_class("blob")
    assert cls.name == "blob"
    assert cls.__module__ == "zsbench.methods.blob_plugin"
    assert registry.load_method_class("blob") is cls


def test_built_in_package_is_searched_through(built_in: Path) -> None:
    write(built_in / "family" / "__init__.py", "")
    write(built_in / "family" / "deep" / "__init__.py", "")
    write(built_in / "family" / "deep" / "model.py", method("blob", "Blob") + method("blot", "Blot"))
    write(built_in / "no_package" / "stray.py", method("stray"))
    assert [plugin.name for plugin in registry.plugins("method")] == ["blob", "blot"]
    assert one("blot").module == "zsbench.methods.family.deep.model"
    assert registry.load_method_class("blot").__name__ == "Blot"


def test_class_in_init_of_a_package(built_in: Path) -> None:
    write(built_in / "family" / "__init__.py", method("blob"))
    assert one("blob").module == "zsbench.methods.family"
    assert registry.load_method_class("blob").__module__ == "zsbench.methods.family"


def test_entry_point_is_listed_without_import_of_its_parents(site: Path) -> None:
    write(site / "pond_plugin" / "__init__.py", "raise RuntimeError('imported')")
    write(site / "pond_plugin" / "data.py", dataset("pond", summary="Still water."))
    install(site, "pond-dist", "zsbench.datasets", pond="pond_plugin.data:Pond")
    plugin = one("pond")
    assert (plugin.kind, plugin.summary, plugin.source) == ("dataset", "Still water.", "package pond-dist")
    with pytest.raises(UserError, match=r"pond-dist(?s:.)*RuntimeError: imported"):
        registry.load_dataset_class("pond")
    write(site / "pond_plugin" / "__init__.py", "")
    assert registry.load_dataset_class("pond").name == "pond"


def test_entry_point_names_a_class_without_decorator(site: Path) -> None:
    write(site / "bare_plugin.py", dataset("x").replace('@register_dataset("x")', ""))
    install(site, "bare-dist", "zsbench.datasets", bare="bare_plugin:Pond")
    assert one("bare").summary == "A pond."
    assert registry.load_dataset_class("bare").name == "bare"


def test_entry_point_without_source_is_listed_and_explained(site: Path) -> None:
    install(site, "ghost-dist", "zsbench.methods", ghost="ghost_plugin.model:Ghost")
    assert (one("ghost").summary, one("ghost").location) == ("", None)
    with pytest.raises(UserError, match="ghost_plugin"):
        registry.load_method_class("ghost")


def test_entry_point_and_decorator_must_agree(site: Path) -> None:
    write(site / "two_plugin.py", dataset("inner"))
    install(site, "two-dist", "zsbench.datasets", outer="two_plugin:Pond")
    with pytest.raises(UserError, match=r"'inner' and as 'outer'"):
        registry.load_dataset_class("outer")


def test_entry_point_without_class_is_a_problem(site: Path) -> None:
    install(site, "odd-dist", "zsbench.methods", odd="odd_plugin")
    assert any("odd-dist" in problem and "module:Class" in problem for problem in registry.problems())


def test_file_holds_methods_and_datasets(tmp_path: Path) -> None:
    path = write(tmp_path / "my plugin.py", method("mine") + dataset("my-data") + dataset("more-data", "More"))
    registry.add_file(path)
    assert [one(name).source for name in ("mine", "my-data", "more-data")] == [f"file {path}"] * 3
    assert registry.load_method_class("mine").name == "mine"
    assert registry.load_dataset_class("more-data").__name__ == "More"


def test_file_is_imported_once_whatever_its_spelling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "mine_plugin.py", method("mine"))
    registry.add_file(path)
    first = registry.load_method_class("mine")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link.py").symlink_to(path)
    for spelling in ("mine_plugin.py", "link.py", f"{tmp_path}/../{tmp_path.name}/mine_plugin.py"):
        registry.add_file(spelling)
        assert registry.load_method_class("mine") is first


def test_built_in_given_as_a_file_stays_the_built_in(built_in: Path) -> None:
    registry.add_file(write(built_in / "blob_plugin.py", method("blob")))
    assert one("blob").source == "built-in"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "registers nothing"),
        ("def f(:", "line 1"),
        ("@register_method(NAME)\nclass A: pass", "class A: its decorator takes literals only"),
        ("@register_method\nclass A: pass", "class A: its decorator takes literals only"),
        ("@register_method('a', needs='torch')\nclass A: pass", "takes literals only"),
    ],
)
def test_bad_file_is_explained(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path / "bad.py", text)
    with pytest.raises(UserError, match=message) as caught:
        registry.add_file(path)
    assert "bad.py" in str(caught.value)


def test_absent_file_is_explained(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.py.*no such"):
        registry.add_file(tmp_path / "absent.py")


def test_unknown_name_says_all_it_can(built_in: Path, site: Path, tmp_path: Path) -> None:
    write(built_in / "blob_plugin.py", method("blob"))
    write(built_in / "broken.py", "def f(:  # register_method")
    mine = write(tmp_path / "mine.py", method("mine"))
    registry.add_file(mine)
    with pytest.raises(UserError) as caught:
        registry.load_method_class("blub")
    text = str(caught.value)
    assert "Did you mean 'blob'?" in text
    assert "Known: blob, mine." in text
    assert str(built_in) in text and "zsbench.methods" in text and str(mine) in text
    assert "broken.py, line 1: " in text


def test_broken_plugin_harms_no_other(built_in: Path) -> None:
    write(built_in / "good_plugin.py", method("good"))
    needy = method("needy", needs="'no_such_module',")
    write(built_in / "needy_plugin.py", "import no_such_module\n" + needy)
    write(built_in / "leaving_plugin.py", "raise SystemExit(3)\n" + method("leaving"))
    assert [plugin.name for plugin in registry.plugins("method")] == ["good", "leaving", "needy"]
    assert registry.load_method_class("good").name == "good"
    with pytest.raises(UserError, match=r"No module named 'no_such_module'.*pip install 'no_such_module'"):
        registry.load_method_class("needy")
    with pytest.raises(UserError, match="SystemExit"):
        registry.load_method_class("leaving")


def test_name_taken_twice_is_an_error_that_spares_the_others(built_in: Path, tmp_path: Path) -> None:
    write(built_in / "one_plugin.py", method("same") + method("other", "Other"))
    path = write(tmp_path / "two_plugin.py", method("same"))
    registry.add_file(path)
    assert [plugin.name for plugin in registry.plugins("method")] == ["other", "same", "same"]
    [problem] = registry.problems("method")
    assert "one_plugin.py" in problem and str(path) in problem
    with pytest.raises(UserError, match=r"2 methods are called 'same': .*one_plugin.*two_plugin"):
        registry.load_method_class("same")
    assert registry.load_method_class("other").name == "other"


def test_a_file_that_has_a_name_twice_is_refused(built_in: Path, tmp_path: Path) -> None:
    """Else the second class would take the place of the first, unseen."""
    path = write(tmp_path / "copied.py", method("same") + method("same"))
    with pytest.raises(UserError, match=r"copied\.py: two methods are called 'same': rename or remove one"):
        registry.add_file(path)


def test_decorator_refuses_a_name_of_another_place() -> None:
    def make(qualname: str) -> type:
        return type("Blob", (), {"__qualname__": qualname})

    registry.record("method", "a-name", make("First"))
    registry.record("method", "a-name", make("First"))  # a module imported anew
    with pytest.raises(UserError, match=r"First.*Second"):
        registry.record("method", "a-name", make("Second"))
    registry.record("dataset", "a-name", make("Second"))  # kinds do not share names


def test_decorator_refuses_a_second_name_and_a_bad_one() -> None:
    cls = registry.record("method", "a-name", type("Blob", (), {}))
    with pytest.raises(UserError, match=r"'a-name' and as 'b-name'"):
        registry.record("method", "b-name", cls)
    with pytest.raises(UserError, match="no name for a method"):
        registry.record("method", "A/b", type("Blob", (), {}))
    subclass = registry.record("method", "b-name", type("Sub", (cls,), {}))
    assert (cls.__dict__["name"], subclass.__dict__["name"]) == ("a-name", "b-name")


def test_plugin_of_the_wrong_class_is_refused(tmp_path: Path) -> None:
    text = "from zsbench.registry import register_method\n@register_method('odd')\nclass Odd:\n    pass\n"
    registry.add_file(write(tmp_path / "odd_plugin.py", text))
    with pytest.raises(UserError, match=r"Odd must be a subclass of zsbench\.method\.Method"):
        registry.load_method_class("odd")


def test_real_built_ins_are_all_well_formed() -> None:
    assert registry.problems() == []
    for plugin in registry.plugins():
        assert plugin.summary, plugin


def test_listing_imports_no_plugin_and_no_torch() -> None:
    code = """
        import sys
        from zsbench import registry
        registry.plugins(), registry.problems()
        heavy = {"torch", "numpy", "pydantic"} & set(sys.modules)
        plugins = [name for name in sys.modules if name.startswith(("zsbench.methods.", "zsbench.datasets."))]
        print([*heavy, *plugins])
    """
    command = [sys.executable, "-c", dedent(code)]
    root = Path(__file__).parents[1]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.strip() == "[]"


OPTIONS = """
from zsbench.options import Ablation, Options, Preset

class BlobOptions(Options):
    size: int = 1
    variants = {"big": {"size": 9}}
"""


def test_options_are_loaded_without_the_method(built_in: Path) -> None:
    write(built_in / "family_plugin" / "__init__.py", "")
    write(built_in / "family_plugin" / "words.py", OPTIONS)
    text = method("blob").replace("    def predict", "    Options = BlobOptions\n\n    def predict")
    write(built_in / "family_plugin" / "blob.py", "from .words import BlobOptions\n" + text)
    options = registry.load_options("blob")
    assert options.variants == {"big": {"size": 9}} and options().size == 1
    assert "zsbench.methods.family_plugin.blob" not in sys.modules
    assert registry.load_method_class("blob").Options is options  # type: ignore[comparison-overlap]


@pytest.mark.parametrize("stated", ["Options = BlobOptions", "pass"])
def test_options_in_the_methods_own_file_are_those_of_its_class(tmp_path: Path, stated: str) -> None:
    text = method("blob").replace("    def predict", f"    {stated}\n\n    def predict")
    registry.add_file(write(tmp_path / "blob_plugin.py", OPTIONS + text))
    assert list(registry.load_options("blob").variants) == ([] if stated == "pass" else ["big"])


def test_options_of_a_broken_or_unknown_method_are_a_users_mistake(built_in: Path) -> None:
    text = method("blob").replace("    def predict", "    Options = BlobOptions\n\n    def predict")
    write(built_in / "blob_plugin.py", "from .nowhere import BlobOptions\n" + text)
    with pytest.raises(UserError, match=r"No module named 'zsbench\.methods\.nowhere'"):
        registry.load_options("blob")
    with pytest.raises(UserError, match="Did you mean 'blob'"):
        registry.load_options("blop")
