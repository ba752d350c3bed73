"""Which software on which processor produced a number; told without torch."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path

PACKAGES = ("torch", "torchvision", "timm", "open_clip_torch", "numpy", "accelerate")


def versions() -> dict[str, str]:
    """Installed versions of the packages that influence a result."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def cpu_name() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def revision() -> tuple[str | None, bool | None]:
    """`(commit, dirty)` of the checkout that zsbench runs from; Nones for an installed package."""
    root = Path(__file__).resolve().parents[2]
    try:
        if Path(git(root, "rev-parse", "--show-toplevel")).resolve() != root:
            return None, None
        return git(root, "rev-parse", "HEAD"), bool(git(root, "status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return None, None


def revision_of(file: Path) -> tuple[str | None, bool | None]:
    """`(commit, dirty)` of the checkout that a file is in, dirty where its folder has what no commit holds; else Nones."""
    try:
        return git(file.parent, "rev-parse", "HEAD"), bool(git(file.parent, "status", "--porcelain", "--", "*.py"))
    except (OSError, subprocess.SubprocessError):
        return None, None


def git(folder: Path, *words: str) -> str:
    """What git says in a folder."""
    run = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=True, timeout=10)
    return run.stdout.strip()
