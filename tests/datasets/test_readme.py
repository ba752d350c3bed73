"""The table of datasets is what the classes say, and the card in the text is run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from zsbench import Result, registry
from zsbench.cli.app import app
from zsbench.data import FolderDataset

README = (Path(__file__).resolve().parents[2] / "datasets/README.md").read_text(encoding="utf-8")


def row(name: str) -> str:
    dataset = registry.load_dataset_class(name)()
    protocol = dataset.defaults.protocol
    where = "made on the fly"
    if isinstance(dataset, FolderDataset):
        where = f"{protocol.split}, {dataset.splits[protocol.split][0].count:,}"
    size = f"{protocol.short_side or 'original'}, {f'{protocol.crop}/{protocol.stride}' if protocol.crop else 'whole'}"
    cells = [f"`{name}`", len(dataset.classes), len(dataset.unseen) or "-", where, size, dataset.names().name]
    return f"| {' | '.join(map(str, cells))} |"


@pytest.mark.parametrize("name", [entry.name for entry in registry.plugins("dataset") if entry.source == "built-in"])
def test_every_dataset_has_its_row(name: str) -> None:
    assert row(name) in README.splitlines()


def test_the_card_of_the_text_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (card,) = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    (tmp_path / "leaves.toml").write_text(card)
    for folder in ("images", "masks"):
        (tmp_path / "photos-of-leaves" / folder).mkdir(parents=True)
    colours = np.array([(120, 80, 40), (60, 150, 60), (180, 90, 20)], np.uint8)
    for number in range(2):
        mask = np.zeros((48, 64), np.uint8)
        mask[:, 20 + number :], mask[10:20, 30:50] = 1, 2
        Image.fromarray(colours[mask]).save(tmp_path / f"photos-of-leaves/images/{number}.jpg")
        Image.fromarray(mask).save(tmp_path / f"photos-of-leaves/masks/{number}.png")
    for command in re.findall(r"^    zsbench (.*leaves\.toml.*)$", README, re.MULTILINE):
        extra = ["--out", "out"] if command.startswith("eval") else ["--workers", "0"]
        done = CliRunner().invoke(app, [*shlex.split(command), *extra])
        assert done.exit_code == 0, done.output
    result = Result.load(tmp_path / "out/result.json")
    assert result.dataset.name == "leaves" and result.metrics["hIoU"].value >= 0
