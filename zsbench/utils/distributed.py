"""Several processes on one run, started by `torchrun` or `accelerate launch`: which one this is, and what all agree on."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from zsbench.errors import UserError

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator

T = TypeVar("T")
PATIENCE = timedelta(hours=6)
"""How long processes wait for the slowest; one that dies is noticed at once."""
ALONE = ContextVar("alone", default=False)
RANK_VARIABLES = ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK")
COUNTS = (*RANK_VARIABLES, "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_PORT")
"""Variables of launchers that are numbers."""
NUMBER = re.compile("-?[0-9]{1,9}")


def process_index() -> int:
    """The number of this process among those of the run, before anything else is known; only 0 prints.

    What is no number is passed over here: `join` tells of it, and most commands do not join.
    """
    given = next((os.environ[name] for name in RANK_VARIABLES if name in os.environ), "0")
    return int(given) if NUMBER.fullmatch(given) else 0


OTHERWISE = "zsbench decides that itself"
CONFIGURED = {
    "MIXED_PRECISION": ("no", "give --dtype"),
    "GRADIENT_ACCUMULATION_STEPS": ("1", "give -r micro_batch=N"),
    "DYNAMO_BACKEND": ("no", OTHERWISE),
    "USE_DEEPSPEED": ("false", OTHERWISE),
    "USE_FSDP": ("false", OTHERWISE),
    "USE_MEGATRON_LM": ("false", OTHERWISE),
    "USE_PARALLELISM_CONFIG": ("false", OTHERWISE),
}
"""What the configuration of `accelerate launch` hands over in `ACCELERATE_<name>`: the value that changes no number, and
what to do in the place of another one."""


def check_launcher(device: torch.device) -> None:
    """Raise `UserError` where accelerate's environment would train otherwise, or elsewhere, than the run says."""
    neutral = {**CONFIGURED, "TORCH_DEVICE": (str(device), "give --device")}
    if device.type != "cpu":
        neutral["USE_CPU"] = ("false", "give --device cpu")
    for name, (usual, instead) in neutral.items():
        found = os.environ.get(f"ACCELERATE_{name}", usual)
        if found.lower() != usual:
            raise UserError(
                f"the environment says ACCELERATE_{name}={found}, as a configuration of accelerate does; no result would "
                f"say so: {instead}, and have {usual} there (`accelerate config`, or unset the variable)."
            )


def join(device: torch.device) -> Accelerator:
    """Meet the other processes of the run, if there are any, each on a device of its own.

    Raises `UserError` where all of them would share one CUDA device, where accelerate was told to train otherwise, and where
    the environment says no number.
    """
    check_launcher(device)
    for name in COUNTS:
        if not NUMBER.fullmatch(os.environ.get(name, "0")):
            raise UserError(
                f"{name}={os.environ[name]!r} in the environment: expected a number, as torchrun and accelerate set "
                "it. Unset it to run in one process."
            )
    from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs

    forget_other_device(device)

    # Methods may have parameters that never get a gradient (ZegCLIP's idle ones) or that not every image trains.
    unused = DistributedDataParallelKwargs(find_unused_parameters=True)
    accelerator = Accelerator(
        cpu=device.type == "cpu", kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE), unused]
    )
    if accelerator.num_processes > 1 and device.index is not None:
        raise UserError(f"--device {device} with {accelerator.num_processes} processes: give cuda, each takes its own.")
    return accelerator


def forget_other_device(device: torch.device) -> None:
    """accelerate remembers the first device of a process, and a notebook may ask for another one later."""
    from accelerate import PartialState
    from accelerate.state import AcceleratorState

    if joined() and PartialState().num_processes == 1 and PartialState().device.type != device.type:
        AcceleratorState._reset_state(reset_partial_state=True)


def on_main_then_broadcast(accelerator: Accelerator, decide: Callable[[], T]) -> T:
    """What `decide` returns in the main process, told to all of them; its `UserError` ends all, and is raised once."""
    if accelerator.num_processes == 1:
        return decide()
    from accelerate.utils import broadcast_object_list

    answer: list[Any] = [None, False]
    try:
        if accelerator.is_main_process:
            answer = [decide(), True]
    except UserError:
        broadcast_object_list(answer)
        raise
    value, decided = broadcast_object_list(answer)
    if not decided:
        raise SystemExit(2)  # the main process says why
    return value


def gather(accelerator: Accelerator, value: T) -> list[T]:
    """The values of all processes, by process; all wait for the slowest."""
    if accelerator.num_processes == 1:
        return [value]
    from accelerate.utils import gather_object

    return list(gather_object([value]))


def broadcast_from_main(accelerator: Accelerator, tensor: torch.Tensor) -> None:
    """Give every process the main one's tensor, in place."""
    if accelerator.num_processes > 1:
        from accelerate.utils import broadcast

        broadcast(tensor)


def divided(items: Sequence[T]) -> Iterator[T]:
    """What this process does of `items`, which all processes share out; it ends when all of them are done."""
    state = None
    if joined():
        from accelerate import PartialState

        state = PartialState()
    yield from items if state is None else items[state.process_index :: state.num_processes]
    if state is not None:
        state.wait_for_everyone()


def joined() -> bool:
    """Whether this process has met the others."""
    state = getattr(sys.modules.get("accelerate"), "PartialState", None)
    return state is not None and bool(state._shared_state)


@contextmanager
def alone() -> Iterator[None]:
    """Within, this process does what the others need not do: losses take no part of theirs in."""
    token = ALONE.set(True)
    try:
        yield
    finally:
        ALONE.reset(token)


def mean_over_processes(value: torch.Tensor) -> torch.Tensor:
    """For losses: the mean of a float tensor over the processes that train together; `value` itself where one is `alone`."""
    from torch import distributed

    if ALONE.get() or not (distributed.is_available() and distributed.is_initialized()):
        return value
    total = value.clone()
    distributed.all_reduce(total)
    return total / distributed.get_world_size()


def leave() -> None:
    """Part from the other processes at the end of a command."""
    from accelerate import PartialState

    if joined():
        PartialState().destroy_process_group()
