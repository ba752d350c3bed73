"""What is installed is everything: the wheel and the sdist hold every module and data file, and run outside the checkout."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from zsbench import registry

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]


def expected_files():
    """Every tracked file of the package, by its name inside the wheel."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    files = {name for name in listed if name.startswith("zsbench/") and not (ROOT / name).is_symlink()}
    return files | {f"zsbench/{name}" for name in listed if name.startswith(("methods/", "datasets/"))}


def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def names(requirements):
    """The projects of requirement lines, spelt as pip compares them."""
    return {re.split(r"[^\w.-]", line, maxsplit=1)[0].lower().replace("_", "-") for line in requirements}


def imported():
    """The top-level modules of other projects that some file imports, anywhere in it."""
    found = set()
    for file in (file for folder in ("zsbench", "methods", "datasets") for file in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(node.module.partition(".")[0])
    return found - sys.stdlib_module_names - {"zsbench"}


def test_every_import_is_a_dependency_or_belongs_to_an_extra():
    """So that README's first command runs every method, the two-stage ones too: extras are for files, clusters and GPUs."""
    known, extras = metadata.packages_distributions(), project()["optional-dependencies"]
    core = names(project()["dependencies"])
    optional = names(line for name, lines in extras.items() if name not in ("test", "dev") for line in lines)
    lacking = {name for module in imported() if not core & (own := names(known.get(module, [module]))) for name in own}
    assert lacking <= optional | {"detectron2", "triton", "pynvml"}
    assert {"scipy", "transformers"} <= core


def test_no_built_in_method_needs_more_than_is_installed():
    assert not [(plugin.name, plugin.needs) for plugin in registry.plugins("method") if plugin.missing]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The wheel and the sdist, built from a clean copy of what git tracks."""
    pytest.importorskip("build")
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    folder = tmp_path_factory.mktemp("dist")
    source = tmp_path_factory.mktemp("source") / "checkout"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(source)], check=True)
    subprocess.run([sys.executable, "-m", "build", "-o", str(folder), str(source)], check=True, capture_output=True)
    return next(folder.glob("*.whl")), next(folder.glob("*.tar.gz"))


@pytest.mark.slow
def test_wheel_and_sdist_hold_every_file(built):
    wheel, sdist = built
    with zipfile.ZipFile(wheel) as archive:
        assert expected_files() <= set(archive.namelist())
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
        assert expected_files() <= inside


@pytest.mark.slow
def test_the_wheel_runs_in_a_new_environment(built, tmp_path):
    """The new environment sees the installed dependencies, but zsbench only from the wheel."""
    venv.create(tmp_path / "env", with_pip=True, system_site_packages=False)
    python = tmp_path / "env" / "bin" / "python"
    site = subprocess.run(
        [sys.executable, "-c", "import torch, pathlib; print(pathlib.Path(torch.__file__).parents[1])"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", str(built[0])], check=True)
    own = subprocess.run(
        [python, "-c", "import zsbench; print(zsbench.__file__)"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert str(tmp_path / "env") in own
    purelib = Path(own.strip()).parents[1]
    (purelib / "dependencies.pth").write_text(site + "\n")
    words = ["eval", "--method", "maskclip", "--limit", "4", "--out", "out"]
    run = subprocess.run([python, "-m", "zsbench", *words], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "hIoU" in run.stdout
