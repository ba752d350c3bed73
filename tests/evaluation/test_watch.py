"""What is measured beside predictions adds up over any number of laps, processes and sittings."""

from __future__ import annotations

import json

import torch

from zsbench.evaluation.watch import STAGES, Stopwatch, total


def test_laps_add_up_to_what_one_watch_would_have_measured(monkeypatch):
    watch, laps = Stopwatch(torch.device("cpu")), []
    clock = iter(range(0, 1000, 2))
    monkeypatch.setattr(watch, "now", lambda: float(next(clock)))
    for crops in ([1.0, 2.0], [6.0], []):
        with watch.stage("model"):
            watch.note(lambda crops=crops: {"crops": crops} if crops else {})
        laps.append(json.loads(json.dumps(watch.lap())))
    seconds, means = total(laps)
    assert seconds == dict.fromkeys(STAGES, 0.0) | {"model": 6.0} and means == {"crops": 3.0}
    assert total([]) == (dict.fromkeys(STAGES, 0.0), {})
