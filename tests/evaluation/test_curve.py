"""One pass gives the counts of an evaluation with any calibration, to the pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from toys import Squares

from zsbench.clip.text import Vocabulary
from zsbench.dataset import EvalProtocol
from zsbench.errors import UserError
from zsbench.evaluation.argmax import RunningMax
from zsbench.evaluation.curve import Calibratable, check_calibratable, flip_bins
from zsbench.evaluation.evaluator import Conditions, evaluate_records
from zsbench.evaluation.recorder import Recorder
from zsbench.method import Method, Options, Scoring
from zsbench.metrics.journal import Journal, read_notes
from zsbench.metrics.scores import Counts, summary
from zsbench.metrics.seen_unseen import Flips, edges_with
from zsbench.refining import Pamr, Refining

SEEN = torch.tensor([True, True, False, True, True])
WORDS = (0, 1, 3, 2, 0)
"""The class of each word: grey has two of them, and blue, the unseen class, stands between the others."""
WHOLE = EvalProtocol(short_side=None, crop=None, stride=None)
WINDOWS = EvalProtocol(short_side=None, crop=24, stride=8)
RESIZED = EvalProtocol(short_side=48, crop=None, stride=None)


class Calibrated(Method):
    """Two layers at half the size; the scores of seen words less a constant."""

    def __init__(self, gamma: float, sigmoid: bool = True, ties: bool = False, pamr: bool = False) -> None:
        super().__init__(None, Options())
        torch.manual_seed(3)
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.Tanh(), nn.Conv2d(8, len(WORDS), 1))
        self.gamma, self.sigmoid, self.ties, self.pamr = gamma, sigmoid, ties, pamr
        self.set_vocabulary(Vocabulary(tuple("abcde"), torch.eye(5), SEEN))

    def predict(self, images: Tensor) -> Tensor:
        logits = 2 * self.layers(images)
        return (4 * logits).round() / 4 if self.ties else logits

    @property
    def scoring(self) -> Scoring:
        return Scoring(self.sigmoid, self.gamma * SEEN.float())

    @property
    def refining(self) -> Refining | None:
        return Refining(Pamr(2)) if self.pamr else None


def evaluated(method: Method, protocol: EvalProtocol, folder: Path, curve: bool = False) -> tuple[Counts, Flips | None]:
    """The counts by the usual way and, with `curve`, the flips that were recorded meanwhile."""
    dataset, journal = Squares(), Journal(folder / f"records.journal.{len(list(folder.iterdir()))}", "run")
    recorder = Recorder(WORDS, dataset.seen_mask, Calibratable.of(method), method.refining) if curve else None
    conditions = Conditions(torch.device("cpu"), batch_size=3, recorder=recorder)
    with journal:
        evaluate_records(method, dataset, protocol, dataset.ids("val"), journal, conditions, WORDS)
    counts = Counts.of(journal.records(), 4)
    if recorder is None:
        return counts, None
    flips = Flips(edges_with(recorder.calibratable.own), dataset.seen_mask)
    for _, note in read_notes(folder, "run"):
        flips.add(*note["curve"])
    return counts, flips


@pytest.mark.parametrize("protocol", [WHOLE, WINDOWS, RESIZED], ids=["whole", "windows", "resized"])
@pytest.mark.parametrize("kind", [{}, {"sigmoid": False}, {"pamr": True}], ids=["sigmoid", "logits", "refined"])
def test_counts_are_those_of_separate_runs(tmp_path: Path, protocol: EvalProtocol, kind: dict[str, bool]) -> None:
    own, flips = evaluated(Calibrated(0.123, **kind), protocol, tmp_path, curve=True)
    found = flips.counts(own.gt)
    changes = set()
    for gamma in (-0.5, -0.01, 0.0, 0.05, 0.1, 0.123, 0.35, 1.2):
        counts = evaluated(Calibrated(gamma, **kind), protocol, tmp_path)[0]
        at = int(np.flatnonzero(flips.edges == gamma)[0])
        assert np.array_equal(found.tp[at], counts.tp) and np.array_equal(found.pred[at], counts.pred), gamma
        changes.add(tuple(counts.pred))
    assert len(changes) > 2, "the calibrations make a difference"


def test_ties_go_to_the_lower_word(tmp_path: Path) -> None:
    """Logits in steps of 1/4 and calibrations that are such: each is a tie for some pixels."""
    _, flips = evaluated(Calibrated(0.0, sigmoid=False, ties=True), WHOLE, tmp_path, curve=True)
    for gamma in (-0.5, 0.0, 0.25, 0.5, 1.0):
        counts = evaluated(Calibrated(gamma, sigmoid=False, ties=True), WHOLE, tmp_path)[0]
        at = int(np.flatnonzero(flips.edges == gamma)[0])
        assert np.array_equal(flips.counts(counts.gt).pred[at], counts.pred), gamma


def test_the_curve_follows_from_the_journal_and_marks_the_methods_own_calibration(tmp_path: Path) -> None:
    method, dataset = Calibrated(0.2), Squares()
    counts, _ = evaluated(method, WHOLE, tmp_path, curve=True)
    recorder = Recorder(WORDS, dataset.seen_mask, Calibratable.of(method))
    curve = recorder.recorded(read_notes(tmp_path, "run"), counts.gt).curve
    values, at = summary(counts, dataset.seen_mask), curve.gamma.index(0.2)
    assert curve.own_gamma == 0.2 and (curve.seen[at], curve.unseen[at]) == (values["mIoU_S"], values["mIoU_U"])
    assert curve.best_hiou >= values["hIoU"]


class Uneven(Calibrated):
    """Subtracts something else from every word."""

    @property
    def scoring(self) -> Scoring:
        return Scoring(True, torch.arange(5) / 50)


def test_a_bias_that_is_no_calibration_stays_in_the_scores(tmp_path: Path) -> None:
    counts, flips = evaluated(Uneven(0.0), WHOLE, tmp_path, curve=True)
    at = int(np.flatnonzero(flips.edges == 0.0)[0])
    assert Calibratable.of(Uneven(0.0)).own == 0.0 and np.array_equal(flips.counts(counts.gt).tp[at], counts.tp)


class Dropping(Calibrated):
    refining = Refining(area_threshold=0.1)


def test_what_has_no_two_best_scores_is_refused() -> None:
    method, seen = Calibrated(0.0), SEEN.tolist()
    check_calibratable(method, WHOLE, seen)
    for words in ([True] * 5, [False] * 5):
        with pytest.raises(UserError, match="needs seen and unseen ones"):
            check_calibratable(method, WHOLE, words)
    with pytest.raises(UserError, match="--background-threshold none"):
        check_calibratable(method, EvalProtocol(background_threshold=0.5), seen)
    with pytest.raises(UserError, match="Dropping drops classes of small area"):
        check_calibratable(Dropping(0.0), WHOLE, seen)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 300.0, 1e7])
def test_bins_are_those_of_every_comparison(scale: float) -> None:
    """Scores of any size, many of them as far apart as an edge says, where rounding decides."""
    edges = torch.from_numpy(edges_with(0.123)).float()
    generator = torch.Generator().manual_seed(0)
    sides = [RunningMax((40, 50), torch.device("cpu")) for _ in range(2)]
    for side in sides:
        side.score = torch.randn(40, 50, generator=generator) * scale
        side.label = torch.randint(0, 9, (40, 50), generator=generator).float()
    picked = edges[torch.randint(0, len(edges), (20, 50), generator=generator)]
    sides[0].score[:20] = sides[1].score[:20] + picked
    score, first = sides[0].score[..., None] - edges, (sides[0].label < sides[1].label)[..., None]
    wins = (score > sides[1].score[..., None]) | ((score == sides[1].score[..., None]) & first)
    assert torch.equal(flip_bins(*sides, edges), wins.sum(-1))
