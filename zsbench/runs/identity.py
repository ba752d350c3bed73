"""What decides the numbers of a run, by content: what is resumed must be the same, and what is another is named."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from zsbench import __version__
from zsbench.clip.model import Clip
from zsbench.clip.templates import read_templates
from zsbench.errors import UserError
from zsbench.result import File
from zsbench.runs.asked import as_file, is_file, portable
from zsbench.runs.asked import identity as content_of
from zsbench.runs.environment import device_name
from zsbench.runs.plan import Plan
from zsbench.runs.plugin_code import code_of
from zsbench.runs.software import revision
from zsbench.utils.files import write_text

Identity = Mapping[str, Any]


def identify(plan: Plan, clip: Clip | None) -> Identity:
    """All that decides the numbers, as JSON; files are known by the hashes of their content, wherever they lie."""
    request = plan.request
    weights = clip.weights if clip else None
    found = {
        "method": plan.method_class.name,
        "options": portable(plan.options.model_dump(mode="json")),
        "dataset": plan.dataset.name,
        "dataset file": as_file(Path(request.dataset)) if request.dataset.endswith((".toml", ".py")) else None,
        "plugins": [as_file(path) for path in request.plugin],
        "classes": plan.names.sha256,
        "unseen classes": plan.dataset.unseen,
        "setting": plan.setting,
        "CLIP": clip and File(name=Path(clip.name).name, sha256=digest(clip.config)),
        "CLIP weights": weights and File(name=Path(weights.source).name, sha256=weights.sha256),
        "templates": list(read_templates(plan.templates)) if clip else None,
        "text embeddings": as_file(request.text_embeddings) if request.text_embeddings else None,
        "word vectors": plan.words and File(name=plan.words.source, sha256=plan.words.sha256),
        "recipe": plan.recipe.model_dump(mode="json", exclude={"workers"}),
        "protocol": asdict(plan.protocol),
        "checkpoint": as_file(request.checkpoint) if request.checkpoint else None,
        "training images": digest(plan.train_ids),
        "evaluated images": digest(plan.eval_ids),
        "seed": request.seed,
        "dtype": str(plan.dtype),
        "images scored together": plan.eval_batch,
        "compiled": request.compile or None,
        "TF32": request.tf32 or None,
        "curve": request.curve,
        "metrics": [file for _, file in plan.metrics.values()],
    }
    if (code := code_of(plan.method_class)) is not None:
        found["method's code"] = code.sha256
    return dict(json.loads(json.dumps(found, default=lambda file: file.model_dump())))


def surroundings(device: torch.device, processes: int) -> dict[str, str]:
    """What may change the last bits of a number, and no more."""
    commit, _ = revision()
    return {
        "zsbench": f"{__version__} ({commit[:12]})" if commit else __version__,
        "torch": torch.__version__,
        "threads": str(torch.get_num_threads()),
        "processes": str(processes),
        "device": device_name(device),
    }


def fingerprint(identity: Identity) -> str:
    """Hash of all that decides the numbers: what may be resumed with what."""
    return digest(content_of(identity))


def check_identity(
    path: Path, identity: Identity, around: Mapping[str, str], begun: bool, request: Mapping[str, Any]
) -> str:
    """Keep in `path` what a run is, and the `request` that `zsbench runs` shows of it, or compare it where one has begun.

    Returns what to know about a difference in the surroundings. Raises `UserError` naming each thing that is another now.
    """
    stored = read(path) if begun else None
    if stored is None:
        content = {"identity": identity, "surroundings": around, "request": request}
        write_text(path, json.dumps(content, indent=1) + "\n", lasting=True)
        return ""
    if others := changes(stored["identity"], identity):
        raise UserError(
            f"{path.parent} was begun as another run: {'; '.join(others)}. Give what it was begun with to resume it, or "
            "another --out."
        )
    other = changes(stored["surroundings"], around)
    return f"begun in other surroundings, so that last digits may differ: {'; '.join(other)}." if other else ""


def read(path: Path) -> dict[str, Any] | None:
    """What was kept of a run; None where it is not there or not whole: journal and training state know its hash."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        whole = all(isinstance(stored[name], dict) for name in ("identity", "surroundings"))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return stored if whole else None


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The entries that differ, with what they were and what they are."""
    found = []
    for name, value in now.items():
        was = before.get(name)
        if content_of(was) == content_of(value):
            continue
        if isinstance(was, dict) and isinstance(value, dict) and not is_file(value):
            found.append(f"{name}: {', '.join(changes(was, value))}")
        else:
            found.append(f"{name} was {shown(was)} and is {shown(value)}")
    return found


def shown(value: Any) -> str:
    """A value in a message: a file with the beginning of its hash, and no more than the beginning of anything long."""
    if isinstance(value, list):
        return ", ".join(map(shown, value)) or "none"
    if is_file(value):
        return f"{value['name']} (sha256 {value['sha256'][:12]})" if value["sha256"] else value["name"]
    text = "none" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:12]}..."


def digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
