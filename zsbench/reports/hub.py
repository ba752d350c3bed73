"""Runs on the Hugging Face Hub: what a run left, with a card, and back again. What is pulled is data, and is checked."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from zsbench.checkpoint import read_checkpoint, read_info
from zsbench.errors import UserError, told_by_name
from zsbench.metrics.records import Records
from zsbench.result import Result
from zsbench.runs.folder import BEST, CHECKPOINT, RECORDS, RESULT, weights_in
from zsbench.utils.files import make_folder, slug

if TYPE_CHECKING:
    from huggingface_hub import HfApi

CARD = "README.md"
FILES = (RESULT, RECORDS, CHECKPOINT, BEST)
"""What is pushed and pulled, where it is there: nothing else is ever asked for."""


@told_by_name
def push(
    run: str | Path, repo: str, *, private: bool = False, license: str | None = None, revision: str | None = None
) -> str:
    """Send result, records and checkpoints of a finished run to a repository of the Hub, which is made if it is not there,
    as is the branch `revision`, with a card: `zsbench push`. What is left there of another run goes. Returns its address.

    >>> zsbench.push("runs/zegclip-miniworld-seed0", "me/zegclip-miniworld")
    """
    folder = Path(run)
    result = checked_run(folder, f"{folder} is no finished run")
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    from zsbench.reports.model_card import model_card

    there = [name for name in FILES if (folder / name).exists()]
    learnt = weights_in(folder, result.method.checkpoint_sha256)
    card = model_card(result, repo, learnt.name if learnt else None, RECORDS in there, license)
    with plainly(repo):
        additions = [CommitOperationAdd(name, str(folder / name)) for name in there]
        additions.append(CommitOperationAdd(CARD, str(card).encode()))
        hub = api()
        address = hub.create_repo(repo, private=private, exist_ok=True)
        if revision is not None:
            hub.create_branch(address.repo_id, branch=revision, exist_ok=True)
        left = held_by(hub, address.repo_id, revision).intersection(FILES).difference(there)
        deletions = [CommitOperationDelete(name) for name in sorted(left)]
        message = f"{result.method.name} on {result.dataset.name}, by zsbench {result.environment.zsbench}"
        hub.create_commit(address.repo_id, [*additions, *deletions], commit_message=message, revision=revision)
    return str(address)


@told_by_name
def pull(repo: str, out: str | Path | None = None, *, revision: str | None = None) -> Path:
    """Fetch what `push` sent, into the folder `out`, by default `runs/<repository>`: `zsbench pull`. Returns the folder.

    >>> zsbench.evaluate("zegclip", checkpoint=zsbench.pull("me/zegclip-miniworld") / "checkpoint.safetensors")
    """
    folder = Path(out) if out is not None else Path("runs") / slug(repo.rpartition("/")[2])
    if held := [name for name in (*FILES, CARD) if (folder / name).exists()]:
        raise UserError(f"{folder} already holds {', '.join(held)}. Choose another --out, or delete the folder.")
    make_folder(folder.parent)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".pull-") as temporary:
        fetched = Path(temporary)
        with plainly(repo):
            hub = api()
            there = held_by(hub, repo, revision)
            if RESULT not in there:
                raise UserError(f"{repo} holds no {RESULT}: nothing that `zsbench push` sent.")
            for name in (*FILES, CARD):
                if name in there:
                    hub.hf_hub_download(repo, name, revision=revision, local_dir=fetched)
        checked_run(fetched, f"what {repo} holds is not whole")
        make_folder(folder)
        for name in (*FILES, CARD):
            if (fetched / name).exists():
                shutil.move(fetched / name, folder / name)
    return folder


def held_by(hub: HfApi, repo: str, revision: str | None) -> set[str]:
    """The paths of all files in a repository."""
    return {each.rfilename for each in hub.model_info(repo, revision=revision).siblings or ()}


def api() -> HfApi:
    """The Hub that the environment names now."""
    from huggingface_hub import HfApi

    return HfApi(endpoint=os.environ.get("HF_ENDPOINT"), library_name="zsbench")


def checked_run(folder: Path, what: str) -> Result:
    """The result in a folder, once records and checkpoints beside it are whole and are those that it was made of.

    Raises `UserError` that begins with `what` for anything else.
    """
    if not (folder / RESULT).is_file():
        raise UserError(f"{what}: it has no {RESULT}. `zsbench run` and `zsbench eval` leave one.")
    result = Result.load(folder / RESULT)
    if (folder / RECORDS).exists() and Records.load(folder / RECORDS).sha256() != result.records_sha256:
        raise UserError(f"{what}: {RECORDS} is not what {RESULT} was computed from.")
    found = [name for name in (CHECKPOINT, BEST) if (folder / name).exists()]
    for name in found:
        read_checkpoint(folder / name)
        if (trained := read_info(folder / name).method) != result.method.name:
            raise UserError(f"{what}: {name} is of {trained}, {RESULT} of {result.method.name}.")
    if found and weights_in(folder, result.method.checkpoint_sha256) is None:
        raise UserError(f"{what}: none of {', '.join(found)} is the checkpoint that {RESULT} was measured with.")
    return result


@contextmanager
def plainly(repo: str) -> Iterator[None]:
    """Within, the Hub is spoken to: what it or the way to it refuses is a `UserError` that says what to do."""
    from huggingface_hub import errors

    try:
        yield
    except UserError:
        raise
    except errors.HFValidationError as error:
        raise UserError(f"{repo!r} is no name of a repository: expected OWNER/NAME ({error}).") from error
    except (errors.LocalTokenNotFoundError, errors.GatedRepoError) as error:
        raise UserError(f"{repo}: {NOT_ALLOWED}") from error
    except errors.HfHubHTTPError as error:
        raise UserError(f"{repo}: {refusal(error, error.response.status_code)}") from error
    except Exception as error:
        if not unreachable(error):
            raise
        where = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
        raise UserError(
            f"{repo}: {where} cannot be reached ({str(error).splitlines()[0]}). Look at the network and at $HF_ENDPOINT, "
            "and repeat the command."
        ) from error


LOG_IN = "`hf auth login`, or set $HF_TOKEN to a token that may do this."
NOT_ALLOWED = f"you are not logged in to the Hub, or may not do this: {LOG_IN}"


def refusal(error: Exception, status: int) -> str:
    """Why the Hub refused, and what to do."""
    from huggingface_hub import errors

    if status in (401, 403) and not isinstance(error, errors.RepositoryNotFoundError):
        return NOT_ALLOWED
    if isinstance(error, errors.RevisionNotFoundError):
        return "the Hub has no such revision of it. Look at its branches, or leave --revision out."
    if isinstance(error, errors.RepositoryNotFoundError) or status == 404:
        return f"the Hub has no such repository, or hides it. Look at the name; if it is private: {LOG_IN}"
    return f"the Hub refused ({str(error).splitlines()[0]}). Repeat the command later."


def unreachable(error: Exception) -> bool:
    """Whether there is no way to the Hub: errors of its client's HTTP library, whichever that is."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    names = {kind.__name__ for kind in type(error).__mro__}
    return isinstance(error, LocalEntryNotFoundError | ConnectionError | TimeoutError) or bool(
        names & {"TransportError", "ConnectionError", "OfflineModeIsEnabled"}
    )
