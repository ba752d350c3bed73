"""Two or three examples for the help of each command, as its epilog."""

from __future__ import annotations

EXAMPLES = {
    "run": (
        "zsbench run --method zegclip --dataset miniworld",
        "zsbench run --dataset my_data.toml -r iterations=2000 --seeds 3",
        "zsbench run --config run.toml --out runs/again",
    ),
    "train": (
        "zsbench train --method zegclip --dataset miniworld -r learning_rate=1e-3",
        "zsbench train --setting transductive --resume",
    ),
    "eval": (
        "zsbench eval --method maskclip --dataset miniworld -o normalisation=clip",
        "zsbench eval --checkpoint runs/zegclip-miniworld-seed0/checkpoint.safetensors",
        "zsbench eval --method maskclip --dataset my_data.toml --save-predictions maps",
    ),
    "ablate": ("zsbench ablate zegclip --table 5", "zsbench ablate zegclip --table 5 --seeds 0,1 --jobs 2"),
    "sweep": ("zsbench sweep sweep.toml", "zsbench sweep sweep.toml --jobs 2 --out runs/all"),
    "profile": (
        "zsbench profile --method zegclip --dataset pascal-voc --size 480x640",
        "zsbench profile --method sclip,maskclip --device cpu,cuda --json",
    ),
    "predict": (
        'zsbench predict photo.jpg --classes "cat, grass, sky"',
        'zsbench predict scene.png --dataset miniworld --classes "boat, water, sky" --out pictures',
    ),
    "calibrate": (
        "zsbench calibrate --method zegclip --dataset miniworld",
        "zsbench calibrate --checkpoint runs/zegclip-miniworld-seed0/checkpoint.safetensors --stand-ins 5",
    ),
    "score": (
        "zsbench score --predictions maps --dataset pascal-voc",
        "zsbench score --predictions results.json --dataset my_data.toml --name my-method",
    ),
    "compare": ("zsbench compare runs/a runs/b", "zsbench compare runs/a runs/b --to latex --out table.tex"),
    "report": ("zsbench report runs/a runs/b --out report.html",),
    "export": ("zsbench export runs/* --to csv --out results.csv",),
    "leaderboard": ("zsbench leaderboard", "zsbench leaderboard --add runs/zegclip-coco-stuff-seed0/result.json"),
    "list": ("zsbench list methods", "zsbench list methods --options", "zsbench list datasets --json"),
    "info": (
        "zsbench info zegclip --dataset pascal-voc",
        "zsbench info pascal-voc",
        "zsbench info recipe --dataset miniworld",
    ),
    "runs": ("zsbench runs", "zsbench runs runs/seeds --json"),
    "rerun": (
        "zsbench rerun runs/zegclip-miniworld-seed0",
        "zsbench rerun result.json --out runs/again --files plugins --device cpu",
    ),
    "push": ("zsbench push runs/zegclip-miniworld-seed0 me/zegclip-miniworld",),
    "pull": ("zsbench pull me/zegclip-miniworld", "zsbench pull me/zegclip-miniworld --out runs/theirs"),
    "check-plugin": ("zsbench check-plugin my_method.py", "zsbench check-plugin my_method.py --dataset miniworld"),
}


def epilog(command: str) -> str:
    """The examples of a command; a blank line keeps each on a line of its own."""
    escaped = (example.replace("[", r"\[") for example in EXAMPLES.get(command, ()))
    return "\n\n".join(["Examples:", *(f"  {example}" for example in escaped)])
