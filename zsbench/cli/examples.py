"""Two or three examples for the help of each command, as its epilog."""

from __future__ import annotations

from zsbench.runs.request import DEFAULT_DATASET as DATASET
from zsbench.runs.request import DEFAULT_METHOD as METHOD
from zsbench.runs.request import DEFAULT_PREDICTOR as PREDICTOR

EXAMPLES = {
    "run": (
        f"zsbench run --method {METHOD} --dataset {DATASET}",
        "zsbench run --dataset my_data.toml -r iterations=2000 --seeds 3",
        "zsbench run --config run.toml --out runs/again",
    ),
    "train": (
        f"zsbench train --method {METHOD} --dataset {DATASET} -r learning_rate=1e-3",
        "zsbench train --setting transductive --resume",
    ),
    "eval": (
        f"zsbench eval --method {PREDICTOR} --dataset {DATASET} --curve",
        f"zsbench eval --checkpoint runs/{METHOD}-{DATASET}-seed0/checkpoint.safetensors",
        f"zsbench eval --method {PREDICTOR} --dataset my_data.toml --save-predictions maps",
    ),
    "ablate": (f"zsbench ablate {METHOD} --table 5", f"zsbench ablate {METHOD} --table 5 --seeds 0,1 --jobs 2"),
    "sweep": ("zsbench sweep sweep.toml", "zsbench sweep sweep.toml --jobs 2 --out runs/all"),
    "profile": (
        f"zsbench profile --method {METHOD} --dataset my_data.toml --size 480x640",
        f"zsbench profile --method {METHOD},{PREDICTOR} --device cpu,cuda --json",
    ),
    "predict": (
        'zsbench predict photo.jpg --classes "cat, grass, sky"',
        f'zsbench predict scene.png --dataset {DATASET} --classes "boat, water, sky" --out pictures',
    ),
    "calibrate": (
        f"zsbench calibrate --method {METHOD} --dataset {DATASET}",
        f"zsbench calibrate --checkpoint runs/{METHOD}-{DATASET}-seed0/checkpoint.safetensors --stand-ins 5",
    ),
    "score": (
        "zsbench score --predictions maps --dataset my_data.toml",
        "zsbench score --predictions results.json --dataset my_data.toml --name my-method",
    ),
    "compare": ("zsbench compare runs/a runs/b", "zsbench compare runs/a runs/b --to latex --out table.tex"),
    "report": ("zsbench report runs/a runs/b --out report.html",),
    "export": ("zsbench export runs/* --to csv --out results.csv",),
    "leaderboard": ("zsbench leaderboard", f"zsbench leaderboard --add runs/{METHOD}-{DATASET}-seed0/result.json"),
    "list": ("zsbench list methods", "zsbench list methods --options", "zsbench list datasets --json"),
    "info": (
        f"zsbench info {METHOD} --dataset {DATASET}",
        f"zsbench info {DATASET}",
        f"zsbench info recipe --dataset {DATASET}",
    ),
    "runs": ("zsbench runs", "zsbench runs runs/seeds --json"),
    "rerun": (
        f"zsbench rerun runs/{METHOD}-{DATASET}-seed0",
        "zsbench rerun result.json --out runs/again --files plugins --device cpu",
    ),
    "push": (f"zsbench push runs/{METHOD}-{DATASET}-seed0 me/{METHOD}-{DATASET}",),
    "pull": (f"zsbench pull me/{METHOD}-{DATASET}", f"zsbench pull me/{METHOD}-{DATASET} --out runs/theirs"),
    "check-plugin": ("zsbench check-plugin my_method.py", f"zsbench check-plugin my_method.py --dataset {DATASET}"),
}


def epilog(command: str) -> str:
    """The examples of a command; a blank line keeps each on a line of its own."""
    escaped = (example.replace("[", r"\[") for example in EXAMPLES.get(command, ()))
    return "\n\n".join(["Examples:", *(f"  {example}" for example in escaped)])
