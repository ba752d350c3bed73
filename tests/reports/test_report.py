"""A report says what runs found, leaves out what they lack and says so, and stands alone."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
from typer.testing import CliRunner

import zsbench
from zsbench.cli.app import app
from zsbench.errors import UserError
from zsbench.metrics.intervals import over_seeds
from zsbench.metrics.records import Records
from zsbench.reports.comparison import compare, resampling_of
from zsbench.reports.drawing import Curve
from zsbench.reports.entries import Entry
from zsbench.result import Result

ROOT = Path(__file__).resolve().parents[2]
NASTY = "</script><script>alert(1)</script>|\"'`&\n=1+1\\"
RIGHT = np.random.default_rng(0).integers(30, 90, (12, 2))


class Page(HTMLParser):
    """Text, tags and addresses of a page, and that every element is closed."""

    VOID = {"meta", "link", "img", "br"}

    def __init__(self, html):
        super().__init__()
        self.tags, self.words, self.addresses, self.open = [], [], [], []
        self.feed(html)
        self.close()
        assert not self.open
        self.text = " ".join("".join(self.words).split())

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [value for name, value in attributes if name in ("href", "src", "action")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        self.words.append(" " if tag in ("td", "th", "li", "dt", "dd", "strong") else "")

    def handle_data(self, data):
        if self.open[-1:] not in (["style"], ["script"]):
            self.words.append(data)


@pytest.fixture
def read(tmp_path):
    def call(*runs):
        return Page(zsbench.report(*runs, out=tmp_path / "new" / "page.html", replicates=20).read_text())

    return call


def test_one_run_is_told_whole(run, read):
    folder = run("a", RIGHT)
    (folder / "gallery.png").write_bytes(b"picture")
    page, result = read(folder), Result.load(folder / "result.json")
    metric = result.metrics["hIoU"]
    assert f"{metric.value:.1f} hIoU, percent {metric.low:.1f} to {metric.high:.1f} 95 % interval" in page.text
    wrong = 100 - RIGHT[:, 1].mean()
    assert f"a seen class {wrong:.1f} %" in page.text and f"x {wrong:.1f} seen" in page.text
    worst = Records.load(folder / "records.npz").worst(1)[0]
    assert f"mean IoU {worst[0]} {worst[1]:.1f}" in page.text
    assert result.records_sha256 in page.text and result.command in page.text
    assert "data:image/png;base64,cGljdHVyZQ==" in page.addresses
    for lacking in ("Cost was not measured", "did not record one", "No paper in the collection"):
        assert lacking in page.text
    assert "Comparison" not in page.text


def test_one_image_without_unseen_classes_has_no_interval_and_no_shares(run, read):
    page = read(run("one", RIGHT[:1], labelled=(0,)))
    assert "No pixel of an unseen class is in the labels of these images." in page.text
    assert "nan" not in page.text and "another unseen class" not in page.text


def test_a_page_asks_no_network_for_anything(run, read):
    addresses = read(run("a", RIGHT), run("b", RIGHT + 1)).addresses
    assert addresses and all(address.startswith(("#", "data:")) for address in addresses)


def test_several_runs_are_compared_as_compare_does(run, read):
    folders = run("a", RIGHT + 5), run("b", RIGHT)
    text, found = read(*folders).text, compare(*folders, replicates=20).pairs[0]
    of = found.metrics["hIoU"]
    assert f"{of.value:+.1f} {of.low:+.1f} to {of.high:+.1f}" in text
    assert "A is ahead in 2, B in 0, equal in 0." in text and "A is ahead in 12, B in 0" in text


def test_what_cannot_be_compared_is_said_exactly(run, read):
    a, b = run("a", RIGHT), run("b", RIGHT, setting="transductive")
    other = run("c", RIGHT)
    (other / "records.npz").unlink()
    text = read(a, b, other).text
    assert "A and B cannot be compared: setting: inductive and transductive." in text
    assert "C: no records lie beside its result" in text and "Nothing here can be compared." in text
    small, large = (run(name, RIGHT, protocol={"short_side": side}) for name, side in (("d", 448), ("e", 512)))
    assert "A, B and C cannot be compared: protocol, short_side: 448 and 512." in read(a, small, large).text
    assert "so it is not known what was taken for what" in text and "the worst images are not known" in text


def test_seeds_are_one_row_with_an_interval_over_seeds_and_images(run, read):
    folders = [run("a", RIGHT + 4 * seed, seed=seed) for seed in (0, 1)]
    results = [Result.load(folder / "result.json") for folder in folders]
    records = [Records.load(folder / "records.npz") for folder in folders]
    of = over_seeds(records, resampling_of(results[0], 20))["hIoU"]
    text = read(*folders).text
    assert f"{of.value:.1f} hIoU, percent {of.low:.1f} to {of.high:.1f}" in text and "mean of 2 seeds" in text
    assert f"± {of.seed_deviation:.1f} between seeds" in text
    (folders[0] / "records.npz").unlink()
    text = read(*folders).text
    assert "No interval over seeds: not every seed has its records" in text
    assert f"{of.value:.1f} hIoU, percent {of.low:.1f}" not in text


def test_printed_numbers_stand_beside_those_of_the_same_method_data_and_setting(run, read):
    assert "paper 84.3" in read(run("zegclip", RIGHT, dataset={"name": "pascal-voc"})).text
    assert "paper 84.3" not in read(run("spnet", RIGHT, dataset={"name": "pascal-voc"})).text


def test_costs_make_a_picture_with_its_front(run, read, make_result):
    def cost(gmacs):
        numbers = {"gmacs": gmacs, "gflops": 2 * gmacs, "text_gmacs": 0.0, "latency_ms": 5000.0, "fps": 0.2}
        spread = {"latency_p10_ms": 4000.0, "latency_p90_ms": 6000.0, "latency_runs": 9, "timed": "model"}
        counts = {"learnable_params": 0, "learnable_without_gradient": 0, "image_path_params": 10**6}
        return {"efficiency": {**numbers, **spread, **counts, "input_size": [8, 8], "windows": 1}}

    folders = [
        run("cheap", RIGHT, **cost(1.0)),
        run("dear", RIGHT + 9, **cost(9.0)),
        run("bad", RIGHT - 9, **cost(9.0)),
    ]
    page = read(*folders)
    assert "as those on it (A, B)." in page.text and page.tags.count("svg") == 2
    assert page.text.count(" 5000 ") == 3 and "e+03" not in page.text


def test_plots_are_files_that_say_what_their_letters_mean(run, tmp_path):
    folders = rename(run("a", RIGHT)), run("b", RIGHT + 9)
    zsbench.report(*folders, out=tmp_path / "page.html", replicates=20, plots=tmp_path / "plots")
    assert [file.name for file in (tmp_path / "plots").iterdir()] == ["plane.svg"]  # no cost was measured
    drawn = ElementTree.parse(tmp_path / "plots" / "plane.svg").getroot()
    of = Result.load(folders[1] / "result.json").metrics["hIoU"]
    texts = ["".join(each.itertext()) for each in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert texts[-1] == f"B b: hIoU {of.value:.1f} ({of.low:.1f} to {of.high:.1f})"
    assert texts[-2].startswith("A </script><script>alert(1)") and "…: hIoU" in texts[-2]


def test_plots_of_the_readme_are_of_the_committed_results(tmp_path):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    names, ending = re.search(r"zsbench report .*--plots .*\\\n +miniworld-{(.*)}(.*)", readme).groups()
    results = ROOT / "leaderboards" / "results"
    runs = [path for name in names.split(",") for path in sorted(results.glob(f"miniworld-{name}{ending}"))]
    zsbench.report(*runs, out=tmp_path / "page.html", replicates=2, plots=tmp_path)
    for name in ("plane.svg", "cost.svg"):
        old, new = (ElementTree.parse(folder / name).getroot() for folder in (ROOT / "docs", tmp_path))
        assert old[1].text == new[1].text, f"docs/{name} is stale: README says what draws it"


def test_a_curve_is_drawn_where_a_run_recorded_one(run, read, monkeypatch):
    found = SimpleNamespace(
        gamma=[0.0, 0.1],
        seen=[60.0, 40.0],
        unseen=[10.0, 30.0],
        best_gamma=0.1,
        own_gamma=0.0,
        area=0.123,
        best_hiou=34.3,
    )
    monkeypatch.setattr(Entry, "curve", property(lambda entry: Curve.of(found, entry.number, entry.name)))
    text = read(run("a", RIGHT)).text
    assert "hIoU is highest, 34.3, at a calibration of 0.1" in text and "method's own is 0." in text


def rename(folder):
    """Give a run nasty words wherever a result has words of others."""
    result = Result.load(folder / "result.json")
    rows = [row.model_copy(update={"name": f"{row.name}{NASTY}"}) for row in result.per_class]
    dataset = result.dataset.model_copy(update={"unseen": [rows[1].name], "names": NASTY})
    method = result.method.model_copy(update={"name": NASTY})
    words = {"command": NASTY, "note": NASTY, "per_class": rows, "dataset": dataset, "method": method}
    result.model_copy(update=words).save(folder / "result.json")
    return folder


def test_names_are_harmless(run, read):
    ids = [f"{number}{NASTY}" for number in range(12)]
    folders = rename(run("a", RIGHT, ids=ids)), rename(run("b", RIGHT + 1, ids=ids, method={"variant": "v"}))
    page, shown = read(*folders), " ".join(NASTY.split())
    assert page.tags.count("script") == 1 and page.text.count(shown) > 10


def test_mistakes_are_said_plainly(run, tmp_path):
    folder = run("a", RIGHT)
    for runs, out, message in (
        ((), "page.html", "a report takes runs, each given once"),
        ((folder, folder / "result.json"), "page.html", "each given once"),
        ((folder,), folder / "result.json", "expected the name of a page"),
        ((tmp_path,), "page.html", "result.json: no such result"),
    ):
        with pytest.raises(UserError, match=message):
            zsbench.report(*runs, out=out)
    path = folder / "result.json"
    path.write_text(path.read_text().replace('"tp": ', '"tp": 1', 1))
    with pytest.raises(UserError, match="a result is not edited"):
        zsbench.report(folder, out=tmp_path / "page.html")


def test_the_command_says_where_the_page_is(run, tmp_path):
    done = CliRunner().invoke(app, ["report", str(run("a", RIGHT)), "--out", str(tmp_path / "p.html")])
    assert done.exit_code == 0 and (tmp_path / "p.html").is_file() and "wrote" in done.output


def test_pictures_are_of_one_folder_for_each_run(run, tmp_path):
    folder = run("a", RIGHT)
    with pytest.raises(UserError, match="2 folders of --predictions for 1 runs"):
        zsbench.report(folder, out=tmp_path / "p.html", predictions=["x", "y"])
    with pytest.raises(UserError, match="unknown dataset 'd'"):
        zsbench.report(folder, out=tmp_path / "p.html", predictions=["x"])
