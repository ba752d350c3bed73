"""Carry out a plan: build, train, evaluate, profile, and leave a result that says all about itself."""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from rich.console import Console

from zsbench import __version__
from zsbench.checkpoint import CheckpointInfo, load_trainable_state_dict, read_checkpoint, read_info, save_checkpoint
from zsbench.clip.text import Vocabulary
from zsbench.data.predictions import Saving
from zsbench.dataset import Sample, read_sample
from zsbench.errors import KEPT, UserError, killed_reader, lost_reader
from zsbench.evaluation import evaluator
from zsbench.evaluation.curve import Calibratable, check_calibratable
from zsbench.evaluation.evaluator import Share, evaluate_records
from zsbench.evaluation.recorder import Recorder
from zsbench.evaluation.watch import total
from zsbench.method import Method, predicting
from zsbench.metrics.journal import Journal, journal_path, read_journals, read_notes
from zsbench.metrics.recorded import Recorded
from zsbench.metrics.records import Records
from zsbench.profiling import Conditions, profile_method
from zsbench.result import Efficiency, Result, TrainingInfo
from zsbench.runs.aggregate import Evaluation, aggregate
from zsbench.runs.asked import as_named, asked, asked_of_training, bare, portable
from zsbench.runs.build import build_method, full_vocabulary, load_encoder, seen_words, training_vocabulary
from zsbench.runs.claim import Claim
from zsbench.runs.confirmation import LONGEST_UNASKED, Confirm, question, warn
from zsbench.runs.curves import drawn
from zsbench.runs.environment import environment, tf32
from zsbench.runs.estimate import evaluation_seconds, training_seconds
from zsbench.runs.finished import check_same, is_complete
from zsbench.runs.folder import (
    BEST,
    CHECKPOINT,
    GALLERY,
    IDENTITY,
    LOG,
    PSEUDO_LABELS,
    RECORDS,
    RESULT,
    STATE,
    STEPS,
    leftovers,
    open_folder,
    tidy,
)
from zsbench.runs.gallery import draw_gallery, tolerated
from zsbench.runs.identity import check_identity, fingerprint, identify, surroundings
from zsbench.runs.images import segment
from zsbench.runs.plan import Plan, usual_folder
from zsbench.runs.tracking import Tracking
from zsbench.runs.validation import HeldOut, Weights, course_info
from zsbench.settings import Phase, TrainingView, check_phases
from zsbench.training.course import Course, Validation
from zsbench.training.log import final_loss
from zsbench.training.loop import Session, train
from zsbench.training.rehearsal import can_begin_anywhere, check_learnable, rehearsal, trial_step
from zsbench.training.state import TrainingState
from zsbench.utils.compiler import check_compiler, compiled
from zsbench.utils.distributed import join, on_main_then_broadcast
from zsbench.utils.files import printable, sha256, telling
from zsbench.utils.progress import Bar, NotebookBar, format_seconds, progress_bar

log = logging.getLogger("zsbench")


@dataclass(frozen=True)
class Outcome:
    """What came of a plan: the folder, and the result but for `train`."""

    out: Path
    result: Result | None


class Run:
    """One method on one dataset: the objects that a plan calls for, and the steps over them."""

    def __init__(self, plan: Plan, console: Console | None = None, given: Method | None = None) -> None:
        self.plan, self.given = plan, given
        self.console = console or Console(quiet=True)
        self.accelerator = join(plan.device)
        self.claim: Claim | None = None
        self.tracking = Tracking(plan, plan.out, self.say, self.accelerator.is_main_process)
        try:
            self.out = on_main_then_broadcast(self.accelerator, self.open_folder)
            if not self.out.is_dir():
                raise UserError(
                    f"this process does not see {self.out}: all machines of a run need a common file system."
                )
            self.tracking.folder = self.out
            self.device = self.accelerator.device if plan.device.index is None else plan.device
            if plan.request.compile:
                check_compiler(self.device)
            torch.manual_seed(plan.request.seed)
            with self.accelerator.local_main_process_first():  # one downloads for all
                self.clip = given.clip if given is not None else load_encoder(plan)
            self.fingerprint = on_main_then_broadcast(self.accelerator, self.identify)
            self.method = build_method(plan, self.clip) if given is None else given
            if plan.request.curve and plan.eval_ids:
                check_calibratable(self.method, plan.protocol, seen_words(plan))
        except BaseException:
            self.close()
            raise
        self.training: TrainingInfo | None = None
        self.validated = ""

    def close(self) -> None:
        """Let others have the folder, and trackers send what they have."""
        self.tracking.close()
        if self.claim is not None:
            self.claim.release()

    def say(self, text: str) -> None:
        """Tell once, however many processes find it, on the screen and in the log."""
        if not self.accelerator.is_main_process:
            return
        if log.handlers:
            log.warning("%s", text)
        self.console.print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)

    def open_folder(self) -> Path:
        plan, request = self.plan, self.plan.request
        usual = None if request.out else usual_folder(request, plan.setting)
        self.claim = open_folder(plan.out, plan.trains, request.resume, usual, self.say)
        if request.resume:
            check_same(self.claim.folder, plan.verb, request, plan.trains)
        start_log(self.claim.folder / LOG, plan)
        if self.claim.note:
            self.say(self.claim.note)
        return self.claim.folder

    def identify(self) -> str:
        """The fingerprint of this run; a `UserError` where the folder holds what another has begun."""
        identity = identify(self.plan, self.clip)
        around = surroundings(self.device, self.accelerator.num_processes)
        begun, request = bool(leftovers(self.out)), asked(self.plan.request)
        if difference := check_identity(self.out / IDENTITY, identity, around, begun, request):
            self.say(difference)
        return fingerprint(identity)

    @property
    def learnt(self) -> bool:
        """Whether an earlier sitting has finished the training, or there is none."""
        return not self.plan.trains or (self.out / CHECKPOINT).exists()

    def estimate(self) -> tuple[float, float]:
        """Seconds that training and evaluation will take, from one step and one window."""
        plan, training, evaluation = self.plan, 0.0, 0.0
        if not self.learnt:
            phases = self.phases()
            self.rehearse(phases[1:])
            self.tell(training_vocabulary(plan, self.clip, phases[0][1]))
            training = training_seconds(self.method, [phase for phase, _ in phases], self.device)
            if looks := plan.validations:
                images = looks * len(plan.validation_ids)
                training += evaluation_seconds(self.method, self.first(), images, plan.protocol, self.device)
        if plan.eval_ids:
            if self.learnt:  # before, a method that keeps what it is told would learn with the names of unseen classes
                self.tell(full_vocabulary(plan, self.clip))
            evaluation = evaluation_seconds(self.method, self.first(), len(plan.eval_ids), plan.protocol, self.device)
        processes = self.accelerator.num_processes
        return training / processes, evaluation / processes

    def rehearse(self, phases: Sequence[tuple[Phase, TrainingView]]) -> None:
        """Try a step of phases that come later, where that can be: a mistake in them is told before hours of the first."""
        check_learnable(self.method)
        if not can_begin_anywhere(self.method):
            return
        self.method.to(self.device)
        for phase, view in phases:
            self.tell(training_vocabulary(self.plan, self.clip, view))
            with rehearsal(self.method):
                trial_step(self.method, phase, 1, self.device)

    def tell(self, vocabulary: Vocabulary) -> None:
        self.method.set_vocabulary(vocabulary.to(self.device))

    def first(self) -> Sample:
        """The first image to be evaluated, or held out."""
        plan = self.plan
        split, ids = (plan.protocol.split, plan.eval_ids) if plan.eval_ids else ("train", plan.validation_ids)
        return read_sample(plan.dataset, split, ids[0])

    def phases(self) -> list[tuple[Phase, TrainingView]]:
        """The phases of training that the method asks for, each with its view of the data."""
        plan = self.plan
        phases = plan.method_class.phases(plan.setting, plan.recipe, plan.options)
        check_phases(phases, plan.setting, plan.method_class.name)
        made = self.out / PSEUDO_LABELS
        return [(phase, TrainingView(plan.dataset, phase, plan.train_ids, made / phase.name)) for phase in phases]

    def train(self) -> None:
        """Train, or take up what an earlier sitting left, and write the checkpoint."""
        plan, finished = self.plan, self.learnt
        state = TrainingState(self.out / STATE, self.fingerprint, say=self.say)
        if not finished:
            phases = self.phases()
            phases[0][1].check_labels()
            with (
                progress_bar(self.console, "train", sum(phase.recipe.iterations for phase, _ in phases)) as bar,
                self.drawn(state) if self.accelerator.is_main_process else nullcontext(),
            ):
                session = Session(
                    self.accelerator,
                    plan.request.seed,
                    plan.dtype,
                    state,
                    self.out / STEPS,
                    partial(self.stepped, bar),
                    partial(self.resumed, bar),
                    self.validation() if plan.validation_ids else None,
                )
                with self.compiled("losses"):
                    train(self.method, phases, self.enter, session)
        self.training = on_main_then_broadcast(self.accelerator, lambda: self.save_training(state, finished))
        if finished or self.evaluated == "best":  # any number of processes goes on from here
            load_trainable_state_dict(self.method, read_checkpoint(self.learnt_file)[1], str(self.learnt_file))

    @property
    def evaluated(self) -> Weights:
        """Which weights are evaluated; the last where no phase could be validated."""
        return self.plan.recipe.evaluated if (self.out / BEST).exists() else "last"

    @property
    def learnt_file(self) -> Path:
        return self.out / (BEST if self.evaluated == "best" else CHECKPOINT)

    def validation(self) -> Validation:
        """How the method is looked at while it learns; the best weights so far are kept in a file."""
        plan, recipe = self.plan, self.plan.recipe
        measure = HeldOut.of(plan, self.clip, self.accelerator)
        return Validation(measure, recipe.validate_every, recipe.patience, self.keep_best, self.found)

    def keep_best(self, course: Course) -> None:
        if self.accelerator.is_main_process and course.best is not None:
            save_checkpoint(self.out / BEST, course.best["weights"], self.checkpoint_info(course, "best"))

    def found(self, course: Course) -> None:
        """Tell what the latest validation found, in the log and where no bar is drawn over it."""
        step, found = course.history[-1]
        numbers = ", ".join(f"{name} {value:.2f}" for name, value in found.items())
        self.validated = f", validation {numbers}"
        self.tracking.log("validation", found, step)
        log.info("validation after step %d: %s", step, numbers)
        if step in course.ended:
            self.say(f"no better validation since step {(course.best or {})['step']}: this phase ends at step {step}.")

    def drawn(self, state: TrainingState) -> AbstractContextManager[None]:
        return drawn(self.out, lambda: state.course, self.title, self.say)

    @property
    def title(self) -> str:
        """Of pictures."""
        return f"{self.plan.method_class.name} on {self.plan.dataset.name}, {self.plan.setting}"

    def resumed(self, bar: Bar | NotebookBar, done: int) -> None:
        """Say from which step a training goes on, and let trackers begin."""
        on_main_then_broadcast(self.accelerator, lambda: self.tracking.open(done))
        if done:
            bar.resume(done)
            text = f"resumed at step {done} of {self.plan.recipe.iterations}"
            log.info("%s", text)
            self.console.print(text)

    def stepped(self, bar: Bar | NotebookBar, done: int, losses: dict[str, float]) -> None:
        bar.reach(done, f"loss {losses['loss']:.3f}{self.validated}")
        self.tracking.log("train", losses, done)

    def enter(self, phase: Phase, view: TrainingView) -> None:
        log.info("phase %s: %s pixels, names of %s classes", phase.name, phase.pixels, phase.names)
        self.tell(training_vocabulary(self.plan, self.clip, view))

    def save_training(self, state: TrainingState, finished: bool) -> TrainingInfo:
        recipe, seconds = self.plan.recipe, state.seconds
        if finished:
            kept = next(state.sound(self.out / STATE), None)
            seconds = kept["seconds"] if kept else math.nan
            state.course = Course(**kept["course"]) if kept else state.course
        else:
            self.keep_best(state.course)  # as it is: a sitting that was cut short may have left a later one
            save_checkpoint(self.out / CHECKPOINT, self.method, self.checkpoint_info(state.course, "last"))
            shutil.rmtree(self.out / PSEUDO_LABELS, ignore_errors=True)
            log.info("trained %d iterations in %.0f s", recipe.iterations, seconds)
        return TrainingInfo(
            dataset=self.plan.dataset.name,
            recipe=recipe.model_dump(mode="json"),
            seconds=seconds,
            final_loss=final_loss(self.out / STEPS),
            validation=course_info(state.course, len(self.plan.validation_ids), self.evaluated)
            or read_info(self.learnt_file).validation,  # of a training that has left nothing else
        )

    def checkpoint_info(self, course: Course, weights: Weights) -> CheckpointInfo:
        plan = self.plan
        return CheckpointInfo(
            zsbench_version=__version__,
            method=plan.method_class.name,
            options=plan.options.model_dump(mode="json"),
            clip=printable("/".join(Path(self.clip.name).parts[-2:])) if self.clip else None,
            clip_sha256=self.clip.weights.sha256 if self.clip else None,
            dataset=plan.dataset.name,
            classes=list(plan.dataset.classes),
            unseen=list(plan.dataset.unseen),
            names=bare(portable(plan.request.classes)),
            names_sha256=plan.names.sha256,
            templates=bare(portable(plan.templates)),
            text_embeddings_sha256=sha256(texts) if (texts := plan.request.text_embeddings) else None,
            words_sha256=plan.words.sha256 if plan.words else None,
            words_width=plan.words.vectors.shape[1] if plan.words else None,
            setting=plan.setting,
            seed=plan.request.seed,
            recipe=plan.recipe.model_dump(mode="json"),
            request=asked_of_training(plan.request),
            command=as_named(plan.request).command("calibrate" if plan.verb == "calibrate" else "train"),
            validation=course_info(course, len(plan.validation_ids), weights),
        )

    def evaluate(self) -> None:
        """Score this process's share of the images that no journal has."""
        plan, processes = self.plan, self.accelerator.num_processes
        on_main_then_broadcast(self.accelerator, self.tracking.open)
        self.tell(full_vocabulary(plan, self.clip))
        done = on_main_then_broadcast(
            self.accelerator, lambda: frozenset(read_journals(self.out, self.fingerprint)[0].ids.tolist())
        )
        share = Share(self.accelerator.process_index, processes, done)
        recorder = self.recorder()
        how = evaluator.Conditions(
            self.device, plan.dtype, plan.eval_batch, plan.request.workers, share, recorder=recorder
        )
        if plan.request.save_predictions is not None:
            how = replace(how, save=self.open_predictions(plan.request.save_predictions, done))
        own = Journal(journal_path(self.out, share.index), self.fingerprint)
        with (
            own as journal,
            progress_bar(self.console, "evaluate", len(plan.eval_ids), len(done)) as bar,
            self.compiled(predicting(self.method)),
        ):
            evaluate_records(
                self.method,
                plan.dataset,
                plan.protocol,
                plan.eval_ids,
                journal,
                how,
                plan.word_to_class,
                lambda count: bar.reach(min(len(done) + count * processes, len(plan.eval_ids))),
            )
        self.accelerator.wait_for_everyone()

    def compiled(self, name: str) -> AbstractContextManager[None]:
        return compiled(self.method, name) if self.plan.request.compile else nullcontext()

    def recorder(self) -> Recorder | None:
        """Of what is recorded beside the confusion; the method has been told the vocabulary."""
        plan = self.plan
        if not plan.request.curve and not plan.metrics:
            return None
        calibratable = Calibratable.of(self.method) if plan.request.curve else None
        metrics = {name: metric for name, (metric, _) in plan.metrics.items()}
        return Recorder(plan.word_to_class, plan.dataset.seen_mask, calibratable, self.method.refining, metrics)

    def recorded(self, records: Records) -> Recorded:
        """What was recorded beside the confusion, of all images."""
        recorder = self.recorder()
        if recorder is None:
            return Recorded()
        gt = records.class_counts().total(len(self.plan.dataset.classes))[2]
        return recorder.recorded(read_notes(self.out, self.fingerprint), gt)

    def open_predictions(self, folder: Path, done: frozenset[str]) -> Callable[[str, torch.Tensor], None]:
        """What saves a prediction; a `UserError` where those of images that a journal has were not saved."""
        saving = Saving(folder, self.plan.dataset.palette)
        if lost := [image_id for image_id in done if not saving.path(image_id).exists()]:
            raise UserError(
                f"--save-predictions {folder}: {len(lost)} images were evaluated before, and their predictions are not "
                f"there. Give the folder as before, or delete {self.out} to start again."
            )
        return lambda image_id, classes: saving(image_id, classes.cpu().numpy())

    def conclude(self, profile: bool) -> Result:
        """Once all is evaluated: profile, and leave the result and the gallery in the place of what it took.

        Records are those of all processes and sittings, in the order of the split; an image missing is an error.
        """
        plan = self.plan
        records, laps = read_journals(self.out, self.fingerprint)
        records = records.select(plan.eval_ids)
        records.save(self.out / RECORDS)
        result = aggregate(
            plan,
            self.method,
            records,
            Evaluation(*total(laps), self.recorded(records)),
            checkpoint=self.learnt_weights(),
            training=self.training,
            efficiency=self.profile() if profile else None,
            environment=environment(self.device, plan.dtype, self.accelerator.num_processes, plan.request.compile),
        )
        log.info("evaluated %d images: %s", result.dataset.images, result.timing)
        result.save(self.out / RESULT)
        return self.complete(result)

    def learnt_weights(self) -> Path | None:
        """The file of what the method has learnt: of a method that was given as an object it is written now."""
        given = self.plan.request.checkpoint
        if self.given is not None and self.plan.method_class.trainable and given is None:
            save_checkpoint(self.out / CHECKPOINT, self.method, self.checkpoint_info(Course(), "last"))
            return self.out / CHECKPOINT
        return self.learnt_file if self.plan.trains else given

    def left(self) -> Result | None:
        """The result that an earlier sitting wrote before it was cut short."""
        return Result.load(self.out / RESULT) if (self.out / RESULT).exists() else None

    def complete(self, result: Result) -> Result:
        """Draw the gallery, and remove what only an unfinished run needs. Pictures that fail cost no result."""
        plan = self.plan
        if not (self.out / GALLERY).exists():
            self.tell(full_vocabulary(plan, self.clip))
            self.method.eval().to(self.device)
            with tolerated(self.say):
                draw_gallery(
                    self.out / GALLERY,
                    plan.dataset,
                    plan.protocol.split,
                    plan.eval_ids,
                    self.title,
                    self.predict,
                    plan.request.outside,
                )
        self.tracking.conclude(result, self.out / GALLERY, plan.recipe.iterations if plan.trains else 0)
        tidy(self.out)
        return result

    def predict(self, sample: Sample) -> NDArray[Any]:
        """The classes of one image, int32 (H, W); the method has been told the vocabulary."""
        return segment(self.method, self.plan, sample.image, sample.id, sample.label)

    def profile(self, seconds: float = 5.0) -> Efficiency:
        plan, first = self.plan, self.first()
        shape = (first.image.shape[0], first.image.shape[1])
        how = Conditions(dtype=plan.dtype, seconds=seconds, compile=plan.request.compile)
        return profile_method(self.method, self.clip, plan.protocol, shape, plan.prompts, self.device, how, first)


class RunLog(logging.FileHandler):
    """A log whose lines are as good as any other result: one that cannot be written ends the run."""

    def handleError(self, record: logging.LogRecord) -> None:
        with telling(Path(self.baseFilename)):
            raise  # called where the error is handled


def start_log(path: Path, plan: Plan) -> None:
    """Send what zsbench logs to `path`, and begin with what was asked for."""
    for handler in list(log.handlers):
        log.removeHandler(handler)
        handler.close()
    handler = RunLog(path, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False  # to the file alone, whatever other libraries set up
    log.info("%s", plan.request.command(plan.verb))
    log.info("options %s", plan.options.model_dump_json())
    log.info("recipe %s", plan.recipe.model_dump_json())


def execute(
    plan: Plan,
    console: Console | None = None,
    profile: bool = True,
    confirm: Confirm = warn,
    method: Method | None = None,
) -> Outcome:
    """Do what `plan` says; the result (None for `train`) is also written to the output folder. `method`: the one that is
    evaluated, as it stands, in the place of a new one.

    `confirm` is asked before what will take longer than a day, unless that is what was asked for, or is resumed.
    What is resumed and was finished before is there at once. Raises `UserError` where a process that reads images is killed.
    """
    if plan.request.resume and is_complete(plan.out, plan.verb):
        check_same(plan.out, plan.verb, plan.request, plan.trains)
        return Outcome(plan.out, None if plan.verb == "train" else Result.load(plan.out / RESULT))
    run = Run(plan, console, method)
    try:
        with tf32(plan.request.tf32):
            return carry_out(run, profile, confirm)
    except RuntimeError as error:
        if not lost_reader(error):
            raise
        raise killed_reader("--workers in evaluation, -r workers=N in training", KEPT) from error
    finally:
        run.close()


def carry_out(run: Run, profile: bool, confirm: Confirm) -> Outcome:
    """The steps of a run that are not done yet."""
    plan, main = run.plan, run.accelerator
    result = on_main_then_broadcast(main, run.left)
    if result is None:
        training, evaluation = run.estimate()
        run.console.print(f"estimated time {format_seconds(training + evaluation)}")
        begun = plan.request.resume and leftovers(run.out)
        if training + evaluation > LONGEST_UNASKED and not plan.request.yes and not begun:
            text = question(plan, training, evaluation)
            log.info("%s", text)
            on_main_then_broadcast(main, lambda: confirm(text))
    if plan.trains:
        run.train()
    if plan.verb == "train":
        on_main_then_broadcast(main, lambda: tidy(run.out))
        return Outcome(run.out, None)
    if result is not None:
        found = result
        return Outcome(run.out, on_main_then_broadcast(main, lambda: run.complete(found)))
    run.evaluate()
    return Outcome(run.out, on_main_then_broadcast(main, lambda: run.conclude(profile)))
