"""`zsbench calibrate`: choose a method's calibration without looking at any unseen class or test image."""

from __future__ import annotations

from typing import Any

from zsbench.cli.errors import console
from zsbench.cli.options import made_from
from zsbench.cli.program import app
from zsbench.runs.request import CalibrationRequest
from zsbench.utils.distributed import leave


@app.command()
@made_from(CalibrationRequest, "calibrate")
def calibrate(given: dict[str, Any]) -> None:
    """Choose a method's calibration on training images, with seen classes in the place of unseen ones.

    The method is trained without them, on the other training images; the constant with the best hIoU on the held-out ones is
    printed, with the command that uses it.
    """
    request = CalibrationRequest.of("calibrate", given)
    from zsbench.runs.calibration import plan_calibration, use

    plan = plan_calibration(request)
    from zsbench.cli.console import confirm, say_lines, show_plan
    from zsbench.reports.summary import calibration_lines
    from zsbench.runs.execution import execute

    show_plan(console, plan)
    done = execute(plan, console, profile=False, confirm=confirm)
    if done.result is not None:
        say_lines(console, calibration_lines(done.result, use(request, done.result, done.out)))
    leave()
