"""torch.compile, as long as it is asked for: what it cannot do here is told as what it is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from zsbench.errors import UserError, out_of_memory

INSTEAD = "Without --compile the method runs as it is."


@contextmanager
def compiled(module: nn.Module, name: str) -> Iterator[None]:
    """Within, the method `name` of a module is compiled, for each size of its arguments; random numbers are as without.

    Raises `UserError` where torch cannot compile it.
    """
    setattr(module, name, torch.compile(getattr(module, name), options={"fallback_random": True}))
    try:
        with telling_compiler():
            yield
    finally:
        del module.__dict__[name]


@contextmanager
def telling_compiler(everything: bool = False) -> Iterator[None]:
    """Within, something is compiled: a fault of the compiler's, or `everything` that fails, is a `UserError`."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        compilers = type(error).__module__.startswith(("torch._dynamo", "torch._inductor"))
        if out_of_memory(error) or not (everything or compilers):
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"--compile: torch.compile failed: {reason}. It needs a C++ compiler (g++ or clang++; $CXX names another) "
            f"on the CPU and Triton on CUDA. {INSTEAD}"
        ) from error


def check_compiler(device: torch.device) -> None:
    """Raise `UserError` where nothing can be compiled for this device."""
    asked = os.environ.get("CXX")
    if device.type == "cpu" and not any(map(shutil.which, [asked] if asked else ["g++", "clang++", "c++"])):
        found = f"$CXX is {asked}, which is no program here" if asked else "there is none here"
        raise UserError(f"--compile needs a C++ compiler (g++ or clang++; $CXX names another), and {found}. {INSTEAD}")
    with telling_compiler(everything=True):
        torch.compile(torch.sin)(torch.zeros(8, device=device))
