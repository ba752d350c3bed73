"""Carry out a plan: build, train, evaluate, profile, and leave a result that says all about itself."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from zsbench import __version__, metrics
from zsbench.bootstrap import bootstrap
from zsbench.building import build_method, embed_words, full_vocabulary
from zsbench.checkpoint import CheckpointInfo, save_checkpoint
from zsbench.clip import load_clip
from zsbench.console import format_seconds, progress_bar
from zsbench.dataset import Dataset
from zsbench.environment import environment
from zsbench.errors import UserError
from zsbench.estimate import evaluation_seconds, training_seconds
from zsbench.evaluation import Share, Stopwatch, as_classes, evaluate_records, introduce
from zsbench.files import make_folder, sha256
from zsbench.inference import predict_labels, resize
from zsbench.journal import Journal, journal_path, journal_paths, read_journals
from zsbench.picture import Row, save_gallery
from zsbench.plan import Plan
from zsbench.processes import agree, gather, join, mean_by_name
from zsbench.profiling import Conditions, profile_method
from zsbench.protocol import Phase, TrainingView, phases
from zsbench.published import read_published, reported
from zsbench.records import Records
from zsbench.result import (
    ClassRow,
    DatasetInfo,
    Efficiency,
    MethodInfo,
    Metric,
    Result,
    Timing,
    TrainingInfo,
    WeightsInfo,
)
from zsbench.training import TrainingState, train
from zsbench.vocabulary import Vocabulary

GALLERY_IMAGES = 8
log = logging.getLogger("zsbench")


class Run:
    """One method on one dataset: the objects that a plan calls for, and the steps over them."""

    def __init__(self, plan: Plan, console: Console | None = None) -> None:
        self.plan = plan
        self.console = console or Console(quiet=True)
        self.accelerator = join(plan.device)
        self.out = agree(self.accelerator, self.claim_folder)
        if not self.out.is_dir():
            raise UserError(f"this process does not see {self.out}: all machines of a run need a common file system.")
        self.device = self.accelerator.device if plan.device.index is None else plan.device
        torch.manual_seed(plan.request.seed)
        with self.accelerator.local_main_process_first():  # one downloads for all
            self.clip = load_clip(plan.clip, plan.weights)
        self.method = build_method(plan, self.clip)
        self.training: TrainingInfo | None = None
        self.statistics: dict[str, float] = {}

    def claim_folder(self) -> Path:
        """The output folder, absolute. Nothing computed is overwritten: an unfinished run is resumed or left alone."""
        self.out = make_folder(self.plan.out).resolve()
        unfinished = [path.name for path in self.unfinished()]
        if unfinished and not self.plan.request.resume:
            raise UserError(
                f"{self.out} holds an unfinished run ({', '.join(unfinished)}). Go on with --resume, choose another --out, "
                "or delete the folder."
            )
        if (self.out / "result.json").exists():
            raise UserError(f"{self.plan.out} already holds a result. Choose another --out, or delete the folder.")
        if self.plan.trains and self.checkpoint_path.exists() and not unfinished:
            raise UserError(f"{self.plan.out} already holds a checkpoint. Choose another --out, or delete the folder.")
        start_log(self.out / "run.log", self.plan)
        return self.out

    def unfinished(self) -> list[Path]:
        """The files that a run leaves only when it is cut short."""
        return [path for path in (*journal_paths(self.out), self.state_path) if path.exists()]

    @property
    def steps_path(self) -> Path:
        return self.out / "train.jsonl"

    @property
    def state_path(self) -> Path:
        return self.out / "training.pt"

    @property
    def checkpoint_path(self) -> Path:
        return self.out / "checkpoint.safetensors"

    def training_vocabulary(self, view: TrainingView) -> Vocabulary:
        """What a view shows, each class by the first of its words."""
        first = {
            name: words[0] for name, words in zip(self.plan.dataset.classes, self.plan.names.synonyms, strict=True)
        }
        words = tuple(first[name] for name in view.names)
        return embed_words(self.plan, self.clip, words, view.seen.tolist()).to(self.device)

    def full_vocabulary(self) -> Vocabulary:
        return full_vocabulary(self.plan, self.clip).to(self.device)

    def train(self) -> None:
        """Train, or take up what an earlier run left, and write the checkpoint."""
        plan = self.plan
        began = time.perf_counter()
        views = tuple(
            (phase, TrainingView(plan.dataset, phase.setting, plan.train_ids, plan.recipe.pseudo_labels))
            for phase in phases(plan.setting, plan.recipe)
        )
        state = TrainingState(self.state_path, plan.fingerprint, plan.dtype)
        with progress_bar(self.console, "train", plan.recipe.iterations) as bar:

            def on_step(step: int, losses: dict[str, float]) -> None:
                bar.reach(step, f"loss {losses['loss']:.3f}")

            train(
                self.method,
                views,
                self.enter_phase,
                plan.recipe,
                plan.request.seed,
                self.accelerator,
                state,
                self.steps_path,
                on_step,
            )
        self.training = agree(self.accelerator, lambda: self.save_training(time.perf_counter() - began))

    def save_training(self, seconds: float) -> TrainingInfo:
        recipe = self.plan.recipe
        save_checkpoint(self.checkpoint_path, self.method, self.checkpoint_info())
        log.info("trained %d iterations in %.0f s", recipe.iterations, seconds)
        return TrainingInfo(
            dataset=self.plan.dataset.name,
            recipe=recipe.model_dump(mode="json"),
            seconds=seconds,
            final_loss=final_loss(self.steps_path),
        )

    def estimate(self) -> float:
        """Seconds that training and evaluation will take, from one step and one window."""
        plan, total = self.plan, 0.0
        if plan.trains:
            view = TrainingView(plan.dataset, phases(plan.setting, plan.recipe)[0].setting, plan.train_ids)
            self.method.set_vocabulary(self.training_vocabulary(view))
            total += training_seconds(self.method, len(view.names), plan.recipe, self.device)
        if plan.eval_ids:
            self.method.set_vocabulary(self.full_vocabulary())
            sample = plan.dataset.read(plan.protocol.split, plan.eval_ids[0])
            introduce(self.method, [sample.id], [sample.label])
            shape = (sample.image.shape[0], sample.image.shape[1])
            total += evaluation_seconds(self.method, shape, len(plan.eval_ids), plan.protocol, self.device)
        return total

    def enter_phase(self, phase: Phase, view: TrainingView) -> None:
        self.method.set_vocabulary(self.training_vocabulary(view))

    def checkpoint_info(self) -> CheckpointInfo:
        plan = self.plan
        return CheckpointInfo(
            zsbench_version=__version__,
            method=plan.method_class.name,
            options=plan.options.model_dump(mode="json"),
            clip=self.clip.name,
            clip_sha256=self.clip.weights.sha256,
            dataset=plan.dataset.name,
            classes=list(plan.dataset.classes),
            unseen=list(plan.dataset.unseen),
            names=plan.request.classes,
            names_sha256=plan.names.sha256,
            templates=plan.templates,
            text_embeddings_sha256=sha256(texts) if (texts := plan.request.text_embeddings) else None,
            setting=plan.setting,
            seed=plan.request.seed,
            recipe=plan.recipe.model_dump(mode="json"),
        )

    def evaluate(self) -> Stopwatch:
        """Score this process's share of the images that no journal has; returns the time of all processes by stage."""
        plan, processes = self.plan, self.accelerator.num_processes
        self.method.set_vocabulary(self.full_vocabulary())
        done = agree(self.accelerator, lambda: frozenset(read_journals(self.out, plan.fingerprint).ids.tolist()))
        share = Share(self.accelerator.process_index, processes, done)
        own = Journal(journal_path(self.out, share.index), plan.fingerprint)
        with own as journal, progress_bar(self.console, "evaluate", len(plan.eval_ids), len(done)) as bar:
            before = len(journal.done)
            _, watch = evaluate_records(
                self.method,
                plan.dataset,
                plan.protocol,
                plan.eval_ids,
                journal,
                self.device,
                plan.dtype,
                plan.eval_batch,
                plan.request.workers,
                plan.owners,
                lambda count: bar.reach(min(len(done) + count * processes, len(plan.eval_ids))),
                share,
            )
            images = len(journal.done) - before
        parts = gather(self.accelerator, (images, dict(self.method.statistics()), watch.seconds))
        self.statistics = mean_by_name([part[1] for part in parts], [part[0] for part in parts])
        watch.seconds = {name: sum(part[2][name] for part in parts) for name in watch.seconds}
        return watch

    def records(self) -> Records:
        """What all processes recorded, in the order of the split; kept in `records.npz`. An image missing is an error."""
        records = read_journals(self.out, self.plan.fingerprint).select(self.plan.eval_ids)
        records.save(self.out / "records.npz")
        return records

    def conclude(self, watch: Stopwatch, profile: bool) -> Result:
        """Once all is evaluated: profile, and leave the result and the gallery in the place of what it took."""
        result = self.result(self.records(), watch, self.profile() if profile else None)
        log.info("evaluated %d images: %s", result.dataset.images, watch.seconds)
        result.save(self.out / "result.json")
        self.gallery()
        for leftover in self.unfinished():
            leftover.unlink()
        return result

    def profile(self, seconds: float = 5.0) -> Efficiency:
        plan = self.plan
        sample = plan.dataset.read(plan.protocol.split, plan.eval_ids[0])
        introduce(self.method, [sample.id], [sample.label])
        shape = (sample.image.shape[0], sample.image.shape[1])
        conditions = Conditions(dtype=plan.dtype, seconds=seconds)
        return profile_method(self.method, self.clip, plan.protocol, shape, plan.prompts, self.device, conditions)

    def gallery(self) -> None:
        """Pictures of images spread evenly over the split."""
        plan = self.plan
        chosen = [
            plan.eval_ids[i] for i in np.unique(np.linspace(0, len(plan.eval_ids) - 1, GALLERY_IMAGES).astype(int))
        ]
        rows = [self.picture(plan.dataset, image_id) for image_id in chosen]
        title = f"{plan.method_class.name} on {plan.dataset.name}, {plan.setting}"
        dataset = plan.dataset
        save_gallery(self.out / "gallery.png", rows, dataset.classes, dataset.unseen, dataset.palette, title)

    def picture(self, dataset: Dataset, image_id: str) -> Row:
        sample = dataset.read(self.plan.protocol.split, image_id)
        image = resize(sample.image, self.plan.protocol)[None].to(self.device)
        introduce(self.method, [sample.id], [sample.label])
        with torch.inference_mode():
            prediction = predict_labels(self.method, image, [sample.label.shape], self.plan.protocol)[0]
        classes = as_classes(prediction, self.plan.owners).cpu().numpy()
        return Row(sample.image, sample.label, np.where(sample.label < 0, sample.label, classes))

    def result(self, records: Records, watch: Stopwatch, efficiency: Efficiency | None) -> Result:
        """Everything about the run, from the records alone where numbers are concerned."""
        plan = self.plan
        dataset = plan.dataset
        groups = {f"mIoU:{name}": np.isin(dataset.classes, members) for name, members in dataset.groups.items()}
        counts = metrics.Counts.of(records, len(dataset.classes))
        estimates = bootstrap(records, len(dataset.classes), dataset.seen_mask, groups)
        return Result(
            date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            command=plan.request.command(plan.verb),
            method=self.method_info(),
            dataset=self.dataset_info(records),
            setting=plan.setting,
            protocol=asdict(plan.protocol),
            seed=plan.request.seed,
            metrics={name: Metric(**asdict(estimate)) for name, estimate in estimates.items()},
            classes_scored=int((~np.isnan(metrics.iou(counts))).sum()),
            per_class=class_rows(counts, dataset),
            reported=reported(
                dataset.name, plan.method_class.name, plan.request.variant, plan.setting, read_published()
            ),
            training=self.training,
            efficiency=efficiency,
            timing=Timing(**watch.seconds),
            statistics=self.statistics,
            environment=environment(self.device, plan.dtype, self.accelerator.num_processes),
            records_sha256=records.sha256(),
        )

    def method_info(self) -> MethodInfo:
        plan, weights = self.plan, self.clip.weights
        path = plan.request.checkpoint or (self.checkpoint_path if plan.trains else None)
        return MethodInfo(
            name=plan.method_class.name,
            variant=plan.request.variant,
            oracle=self.method.oracle,
            options=plan.options.model_dump(mode="json"),
            clip="/".join(Path(plan.clip).parts[-2:]),
            templates=plan.request.text_embeddings.name if plan.request.text_embeddings else plan.templates,
            weights=WeightsInfo(
                source=Path(weights.source).name,
                sha256=weights.sha256,
                random=weights.random,
                missing=list(weights.missing),
                unexpected=list(weights.unexpected),
            ),
            checkpoint_sha256=sha256(path) if path else None,
            learnt_from=plan.checkpoint.dataset if plan.checkpoint and plan.request.transfer else None,
        )

    def dataset_info(self, records: Records) -> DatasetInfo:
        plan = self.plan
        return DatasetInfo(
            name=plan.dataset.name,
            split=plan.protocol.split,
            images=len(records.ids),
            complete=plan.request.limit is None
            and plan.dataset.full_size(plan.protocol.split) in (None, len(records.ids)),
            classes=len(plan.dataset.classes),
            unseen=list(plan.dataset.unseen),
            names=plan.names.name,
            classes_sha256=plan.names.sha256,
            labels_sha256=labels_fingerprint(records),
        )


def start_log(path: Path, plan: Plan) -> None:
    """Send what zsbench logs to `path`, and begin with what was asked for."""
    for handler in list(log.handlers):
        log.removeHandler(handler)
        handler.close()
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False  # to the file alone, whatever other libraries set up
    log.info("%s", plan.request.command(plan.verb))
    log.info("options %s", plan.options.model_dump_json())
    log.info("recipe %s", plan.recipe.model_dump_json())


def carry_out(plan: Plan, console: Console | None = None, profile: bool = True) -> Result | None:
    """Do what `plan` says and return the result (None for `train`), which is also written to the output folder."""
    run = Run(plan, console)
    run.console.print(f"estimated time {format_seconds(run.estimate() / run.accelerator.num_processes)}")
    if plan.trains:
        run.train()
    if plan.verb == "train":
        agree(run.accelerator, lambda: run.state_path.unlink(missing_ok=True))
        return None
    watch = run.evaluate()
    return agree(run.accelerator, lambda: run.conclude(watch, profile))


def final_loss(steps: Path) -> float:
    """Mean loss over the last tenth of the logged steps."""
    losses = [json.loads(line)["loss"] for line in steps.read_text(encoding="utf-8").splitlines()]
    return float(np.mean(losses[-max(1, len(losses) // 10) :]))


def class_rows(counts: metrics.Counts, dataset: Dataset) -> list[ClassRow]:
    columns = (
        metrics.iou(counts),
        metrics.accuracy(counts),
        metrics.dice(counts),
        counts.tp,
        counts.pred,
        counts.gt,
    )
    return [
        ClassRow(
            name=name,
            seen=bool(seen),
            iou=iou,
            accuracy=acc,
            dice=dice,
            tp=int(tp),
            pred=int(pred),
            gt=int(gt),
        )
        for name, seen, iou, acc, dice, tp, pred, gt in zip(dataset.classes, dataset.seen_mask, *columns, strict=True)
    ]


def labels_fingerprint(records: Records) -> str:
    """Hash of the ground truth as the records saw it: `(image id, class, gt)` where gt > 0."""
    ordered = records.sorted()
    present = ordered.gt > 0
    rows = zip(
        ordered.ids[ordered.image[present]].tolist(),
        ordered.cls[present].tolist(),
        ordered.gt[present].tolist(),
        strict=True,
    )
    return hashlib.sha256(json.dumps(list(rows)).encode()).hexdigest()
