"""Pre-train the CLIP of the miniature world: `python -m zsbench.datasets.miniworld.pretrain --out FOLDER`.

Contrastive learning from images and their captions; labels (masks) are never drawn on. Every step's randomness
is a function of the seed and the step's number, so a run that was stopped goes on as if it had not been.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import open_clip
import torch
import torch.distributed as distributed
from safetensors.torch import save_file
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from zsbench.clip.tokenizer import WordTokenizer

from .captions import COLOURED, NAME_FRAMES, caption, names_in
from .objective import Objective, contrast, encode_texts, encode_tokens
from .pool import Pool, open_pool
from .probe import Probe, to_input
from .things import COLOURS
from .world import CLASSES

CONFIG = Path(__file__).with_name("clip.json")
DIRECTIONS = 25
"""Of the joint space's 96 dimensions, those that images and texts use. Fewer directions than seen classes: what is learnt of
the seen ones then holds between them, as it does in a large CLIP, whose classes lie close together."""
NAMES_WEIGHT = 0.5
WEIGHT_DECAY = 0.05


@dataclass(frozen=True)
class Stage:
    """A part of the training. `rate`: learning rate at its start and end, linear between. `singles`: share of
    images with a single thing. `dropout`: share of patches left out. `patches`: weight of the patch loss."""

    name: str
    steps: int
    batch: int
    rate: tuple[float, float]
    singles: float
    dropout: float
    patches: float = 0.0


STAGES = (
    Stage("singles", 400, 128, (0.0, 1.5e-3), 0.9, 0.5),
    Stage("mixed", 1600, 128, (1.5e-3, 1.3e-3), 0.35, 0.5),
    Stage("decay", 1300, 128, (1.3e-3, 1e-4), 0.35, 0.5, patches=0.003),
    Stage("whole", 200, 64, (1e-4, 1e-5), 0.35, 0.0, patches=0.003),
)


@dataclass(eq=False)
class State:
    """All that a checkpoint keeps, and the history that is told of it."""

    model: Any
    objective: Objective
    optimiser: torch.optim.Optimizer
    directions: Tensor
    step: int = 0
    seconds: float = 0.0

    def save(self, path: Path) -> None:
        """Write atomically: a run killed meanwhile leaves the older checkpoint."""
        draft = path.with_suffix(".tmp")
        keys = ("model", "objective", "optimiser")
        torch.save(
            {"step": self.step, "seconds": self.seconds} | {k: getattr(self, k).state_dict() for k in keys}, draft
        )
        draft.replace(path)

    def load(self, path: Path) -> None:
        """Go on from a checkpoint."""
        saved = torch.load(path, weights_only=True)
        for key in ("model", "objective", "optimiser"):
            getattr(self, key).load_state_dict(saved[key])
        self.step, self.seconds = saved["step"], saved["seconds"]


@dataclass(frozen=True, eq=False)
class Batch:
    """Input images (B, 3, 96, 96), tokens of their captions (B, L), tokens of names (P, L), 0/1 (B, P)."""

    images: Tensor
    captions: Tensor
    names: Tensor
    present: Tensor


class Batches:
    """Draws the batch of a step."""

    def __init__(self, pools: dict[str, Pool], tokenizer: WordTokenizer, config: dict[str, Any]) -> None:
        self.single, self.multi = pools["pretrain-single"], pools["pretrain"]
        self.tokenizer = tokenizer
        self.mean, self.std = config["preprocess_cfg"]["mean"], config["preprocess_cfg"]["std"]

    def draw(self, rng: np.random.Generator, stage: Stage, processes: int) -> Batch:
        """This process's share of a batch: scenes, mirrored by chance and moved a little, captions, and names."""
        size = stage.batch // processes
        singles = rng.binomial(size, stage.singles)
        scenes = [self.single.scene(i) for i in rng.integers(0, len(self.single), singles)]
        scenes += [self.multi.scene(i) for i in rng.integers(0, len(self.multi), size - singles)]
        images = np.stack([s.image[:, :: rng.choice([-1, 1])] for s in scenes])
        held = [names_in(s) for s in scenes]
        names = [*CLASSES, *coloured(rng, held)]
        frames = rng.integers(0, len(NAME_FRAMES), len(names))
        return Batch(
            to_input(moved(rng, images), self.mean, self.std),
            self.tokenizer([caption(rng, s) for s in scenes]),
            self.tokenizer([NAME_FRAMES[i].format(name) for i, name in zip(frames, names, strict=True)]),
            torch.tensor([[name in those for name in names] for those in held]).float(),
        )


def coloured(rng: np.random.Generator, held: list[frozenset[str]]) -> list[str]:
    """Names with colours: up to 16 that occur in these captions, and 8 others."""
    every = [f"{colour} {name}" for name in COLOURED for colour in COLOURS]
    there = [name for name in every if any(name in those for those in held)]
    return list(dict.fromkeys([*rng.permutation(there)[:16].tolist(), *rng.permutation(every)[:8].tolist()]))


def moved(rng: np.random.Generator, images: np.ndarray[Any, Any], reach: int = 4) -> np.ndarray[Any, Any]:
    """Shift all images by up to `reach` pixels; what comes in at the edges mirrors what is there."""
    y, x = rng.integers(0, 2 * reach + 1, 2)
    wide = np.pad(images, ((0, 0), (reach, reach), (reach, reach), (0, 0)), "reflect")
    return wide[:, y : y + images.shape[1], x : x + images.shape[2]]


def locate(step: int) -> tuple[Stage, float]:
    """The stage of a step, and the learning rate there."""
    for stage in STAGES:
        if step < stage.steps:
            return stage, stage.rate[0] + (stage.rate[1] - stage.rate[0]) * (step + 1) / stage.steps
        step -= stage.steps
    raise ValueError("past the last stage")


def advance(state: State, batch: Batch) -> dict[str, float]:
    """One step on this process's batch and all others'; the losses on this one's."""
    stage, rate = locate(state.step)
    state.model.visual.patch_dropout.prob = stage.dropout
    tokens = encode_tokens(state.model, batch.images)
    texts, names = encode_texts(state.model, batch.captions), encode_texts(state.model, batch.names)
    image = tokens[:, 0]
    losses = {
        "captions": contrast(image, texts, batch.captions, state.model.logit_scale.exp()),
        "names": NAMES_WEIGHT * state.objective.names(image, names, batch.present),
    }
    if stage.patches:
        losses["patches"] = stage.patches * state.objective.patches(tokens[:, 1:], names, batch.present)
    parameters = [*state.model.parameters(), *state.objective.parameters()]
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    torch.stack(list(losses.values())).sum().backward()
    share_gradients(parameters)
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    for group in state.optimiser.param_groups:
        group["lr"] = rate
    state.optimiser.step()
    with torch.no_grad():
        state.model.logit_scale.clamp_(0, math.log(100))
    narrow(state.model, state.directions)
    state.step += 1
    return {key: loss.item() for key, loss in losses.items()}


@torch.no_grad()
def narrow(model: Any, directions: Tensor) -> None:
    """Leave of both projections into the joint space what lies in `directions`, orthonormal (96, n)."""
    for projection in (model.visual.proj, model.text_projection):
        projection.copy_(projection @ directions @ directions.T)


def share_gradients(parameters: list[torch.nn.Parameter]) -> None:
    """Replace every gradient by its mean over the processes."""
    flat = torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])
    distributed.all_reduce(flat)
    flat /= distributed.get_world_size()
    for parameter, part in zip(parameters, torch.split(flat, [p.numel() for p in parameters]), strict=True):
        parameter.grad = part.view_as(parameter)


def build(config: dict[str, Any], seed: int) -> State:
    """A fresh model, with the patch dropout that stages set, and its optimiser."""
    torch.manual_seed(seed)
    vision = config["vision_cfg"] | {"patch_dropout": 0.5}
    keys = ("embed_dim", "text_cfg", "quick_gelu")
    model = open_clip.CLIP(vision_cfg=vision, **{key: config[key] for key in keys})
    objective = Objective()
    decayed = [p for n, p in model.named_parameters() if p.ndim >= 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim < 2 or "embed" in n]
    groups = [
        {"params": decayed, "weight_decay": WEIGHT_DECAY},
        {"params": [*others, *objective.parameters()], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.98), eps=1e-6, fused=True)
    directions, _ = torch.linalg.qr(torch.randn(config["embed_dim"], DIRECTIONS))
    narrow(model, directions)
    return State(model.train(), objective, optimiser, directions)


def export(model: Any, path: Path) -> None:
    """The weights alone, as fp16 safetensors."""
    tensors = {
        name: tensor.detach().half().contiguous()
        for name, tensor in model.state_dict().items()
        if tensor.is_floating_point()
    }
    tensors.pop("attn_mask", None)
    save_file(tensors, path)


def main() -> None:
    """Train through all stages, going on from `checkpoint.pt` in the folder where there is one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoint.pt, clip.safetensors, log.jsonl")
    parser.add_argument("--pool", type=Path, help="folder of the rendered scenes (about 2.2 GB); default: OUT/pool")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2, help="each with one thread and its share of a batch")
    parser.add_argument("--until", type=int, help="stop after this step")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    options.pool = options.pool or options.out / "pool"
    for split in ("pretrain-single", "pretrain"):
        open_pool(options.pool, split, options.processes)
    with TemporaryDirectory() as meeting:
        spawn(work, (options, f"file://{meeting}/point"), options.processes)


def work(rank: int, options: argparse.Namespace, meeting: str) -> None:
    """One process of the training; the first one also measures, tells and saves."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", meeting, rank=rank, world_size=options.processes)
    config = json.loads(CONFIG.read_text())
    tokenizer = WordTokenizer(config["words"], config["text_cfg"]["context_length"])
    pools = {split: open_pool(options.pool, split, 1) for split in ("pretrain-single", "pretrain")}
    batches = Batches(pools, tokenizer, config)
    state = build(config, options.seed)
    if (options.out / "checkpoint.pt").exists():
        state.load(options.out / "checkpoint.pt")
    journal = Journal(options.out, Probe(480, 200, batches.mean, batches.std), tokenizer) if rank == 0 else None
    last = min(options.until or 10**9, sum(stage.steps for stage in STAGES))
    started = time.monotonic() - state.seconds
    while state.step < last:
        rng = np.random.default_rng([options.seed, state.step, rank])
        torch.manual_seed(int(rng.integers(2**62)))
        batch = batches.draw(rng, locate(state.step)[0], options.processes)
        losses = advance(state, batch)
        state.seconds = time.monotonic() - started
        if journal is not None:
            journal.note(state, losses, last)
    distributed.destroy_process_group()


class Journal:
    """Tells how training goes, and keeps its results every 250 steps."""

    def __init__(self, folder: Path, probe: Probe, tokenizer: WordTokenizer) -> None:
        self.folder, self.probe, self.tokenizer = folder, probe, tokenizer
        self.means: dict[str, float] = {}

    def note(self, state: State, losses: dict[str, float], last: int) -> None:
        """Take note of a step."""
        self.means = {key: 0.98 * self.means.get(key, loss) + 0.02 * loss for key, loss in losses.items()}
        if state.step % 250 and state.step != last:
            return
        scores = self.probe.measure(state.model, self.tokenizer)
        line = {"step": state.step, "seconds": round(state.seconds)} | self.means | scores
        text = json.dumps({key: round(value, 3) for key, value in line.items()})
        print(text, flush=True)
        with (self.folder / "log.jsonl").open("a") as log:
            print(text, file=log)
        state.save(self.folder / "checkpoint.pt")
        export(state.model, self.folder / "clip.safetensors")


if __name__ == "__main__":
    main()
