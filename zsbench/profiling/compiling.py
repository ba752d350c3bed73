"""A method through torch.compile, or a clear word why not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from zsbench.errors import UserError, out_of_memory
from zsbench.method import Method


@contextmanager
def compiled(method: Method, call: Callable[[], object]) -> Iterator[float]:
    """Within, `method.predict` is compiled, and has been run by `call`; gives the seconds that the first call took.

    Raises `UserError` where torch cannot compile it. The method has been seen to work as it is, so that whatever fails is
    the compiler's doing.
    """
    method.predict = torch.compile(method.predict, dynamic=False)  # type: ignore[method-assign]
    try:
        began = time.perf_counter()
        try:
            call()
        except Exception as error:
            if out_of_memory(error):
                raise
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise UserError(
                f"--compile: torch.compile failed: {reason}. It needs a C++ compiler (g++ or clang++; $CXX names another) "
                "on the CPU and Triton on CUDA. Without --compile the method runs as it is."
            ) from error
        yield time.perf_counter() - began
    finally:
        del method.__dict__["predict"]
