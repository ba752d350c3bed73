"""A suite is one grid: resumable, with all that is missing told before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

import zsbench
from zsbench import registry
from zsbench.cli.app import app
from zsbench.errors import UserError
from zsbench.reports.tables import suite_table
from zsbench.runs import api
from zsbench.runs.asked import asked
from zsbench.runs.sweep_file import read_sweep, sweep_cells

ROOT = Path(__file__).resolve().parents[2]
DATASET = '''
from zsbench.datasets.miniworld import Miniworld
from zsbench.registry import register_dataset


@register_dataset("other-world")
class OtherWorld(Miniworld):
    """Another."""

    name = "other-world"
'''


@pytest.fixture
def two(tmp_path, monkeypatch):
    """A suite of two data sets, one of them from a plugin; cells are finished without running."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_files", [])
    monkeypatch.setattr(registry, "_classes", dict(registry._classes))
    Path("other.py").write_text(DATASET)
    Path("two.toml").write_text('datasets = ["miniworld", "other-world"]\n[run]\nlimit = 2\n')
    return "two.toml"


@pytest.fixture
def ran(monkeypatch, make_result):
    """The commands of the cells that ran; those of a data set named in `broken` fail."""
    commands, broken = [], set()

    class Backend:
        def run(self, cell):
            commands.append(cell.words)
            if cell.request.dataset in broken:
                cell.log.write_text("error: broken\n")
                return False
            cell.out.mkdir(parents=True, exist_ok=True)
            value = 10.0 * (len(commands) + 1)
            make_result(value, request=asked(cell.request), seed=cell.request.seed).save(cell.outcome)
            return True

        def stop(self):
            pass

    monkeypatch.setattr(api, "Local", Backend)
    return commands, broken


def test_every_data_set_is_a_cell_and_finished_ones_are_kept(two, ran):
    commands, broken = ran
    words = {"verb": "eval", "plugin": ["other.py"], "save_predictions": "maps"}
    broken.add("other-world")
    finished = zsbench.run_suite(two, "maskclip", **words)
    assert [cell.out.name for cell in finished.failed] == ["maskclip-other-world-seed0"]
    broken.clear()
    finished = zsbench.run_suite(two, "maskclip", **words)
    assert (
        len(commands) == 3
        and not finished.failed
        and list(finished.results)
        == [
            "maskclip-miniworld",
            "maskclip-other-world",
        ]
    )
    first = commands[0]
    assert first[:3] == ["eval", "--method", "maskclip"] and first[-1] == "--resume"
    assert first[first.index("--limit") + 1] == "2"
    assert first[first.index("--save-predictions") + 1] == str(Path("maps/maskclip-miniworld-seed0"))


def test_the_command_ends_with_one_table(two, ran):
    words = ["eval", "--suite", two, "--method", "maskclip", "--plugin", "other.py", "--seeds", "0,1", "--limit", "3"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "| maskclip" not in done.stdout and "| miniworld " in done.stdout and "| **mean of 2** |" in done.stdout
    assert ran[0][0][ran[0][0].index("--limit") + 1] == "3"
    table = Path("runs/two-maskclip/table.md").read_text()
    assert table in done.stdout
    assert table.partition("\n\n")[2].splitlines() == [
        "Predictions made elsewhere: how their images were resized and cut is not known.",
        "",
        "All 2 seeds gave the same: nothing here is drawn, so ± 0.0 says nothing.",
    ]


def test_the_mean_is_over_all_or_it_is_none(make_result):
    results = [make_result(value) for value in (20.0, 40.0)]
    assert "| 30.0 " in suite_table({"a": [results[0]], "b": [results[1]]}).splitlines()[-1]
    last = suite_table({"a": [results[0]], "b": [None]}, "mDice").splitlines()[-1]
    assert [cell.strip() for cell in last.split("|")[3:-1]] == ["-"] * 6


@pytest.mark.parametrize("verb", ["run", "eval"])
def test_all_missing_data_are_told_at_once(verb, tmp_path, monkeypatch, ran):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as error:
        zsbench.run_suite("gzlss", "maskclip", verb=verb)
    text = str(error.value)
    assert text.startswith("the data of 3 of 3 data sets are missing; nothing was run.")
    assert "pascal-voc, coco-stuff, pascal-context: data root data does not exist." in text
    assert "zsbench data info pascal-context" in text and "zsbench data prepare pascal-voc --root data" in text
    assert not ran[0]


def test_a_training_split_is_missed_where_the_method_trains(two, ran):
    Path("other.py").write_text(
        DATASET + '\n    def ids(self, split):\n        return [] if split == "train" else ["val-0000"]\n'
    )
    words = {"plugin": ["other.py"], "limit": 1}
    zsbench.run_suite(two, "maskclip", **words)
    with pytest.raises(
        UserError, match=r"1 of 2 data sets are missing.*\n  other-world: the train split of other-world is"
    ):
        zsbench.run_suite(two, "zegclip", **words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--dataset", "voc20"], "say it twice: leave one out"),
        (["--seed", "1", "--seeds", "0,1"], "say it twice: leave one out"),
        (["--seeds", "x"], "seeds: 'x' is no whole number from 0"),
        (["--suite", "threee.toml"], "threee.toml"),
    ],
)
def test_a_mistake_is_one_message(two, ran, words, message):
    done = CliRunner().invoke(app, ["run", "--suite", two, "--plugin", "other.py", *words])
    assert done.exit_code == 2 and message in done.output and not ran[0]


def test_a_sweep_takes_a_suite_for_its_data_sets(two, tmp_path):
    path = tmp_path / "sweep.toml"
    path.write_text('[run]\nplugin = "other.py"\n[[grid]]\nsuite = "two.toml"\nmethod = ["maskclip", "sclip"]\n')
    cells = sweep_cells(read_sweep(path), path)
    assert [(c.request.method, c.request.dataset, c.request.limit) for c in cells] == [
        (method, dataset, 2) for method in ("maskclip", "sclip") for dataset in ("miniworld", "other-world")
    ]
    path.write_text('[[grid]]\nsuite = "gzlss"\ndataset = "voc20"\n')
    with pytest.raises(UserError, match="'suite' and 'dataset' both say"):
        sweep_cells(read_sweep(path), path)


def test_the_committed_sweep_is_the_whole_family_on_all_eight_sets():
    path = ROOT / "methods" / "training_free" / "training-free-8.toml"
    cells = sweep_cells(read_sweep(path), path)
    rows = {(cell.request.method, cell.request.variant) for cell in cells}
    assert len(cells) == 8 * len(rows) and len(rows) == 9 and ("maskclip", "quoted") in rows
