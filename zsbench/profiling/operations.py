"""Multiply-adds by `torch.utils.flop_counter`, with attention counted: what cannot be counted fails, and is never zero."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from zsbench.errors import UserError

ATTENTION = re.compile("attention|attn|flash|multi_head|transformer_encoder|sdpa", re.IGNORECASE)
"""Names of operations that multiply matrices of tokens, in torch and in libraries of fast kernels."""
MULTIPLYING = re.compile(
    r"^aten\.(_cdist_|_cudnn_rnn|_fft_|_int_mm|_sparse_|_thnn_fused_|_trilinear|mkldnn_rnn"
    r"|linalg_(cholesky|eig|inv|lstsq|lu|qr|solve)|_linalg_(eigh|solve|svd))"
)
"""Other operations of torch that multiply, and that its counter takes for nothing: recurrent networks, distances, sparse and
integer matrices, transforms and decompositions."""
REST = "(method)"
"""What a method computes outside its modules."""


@dataclass(frozen=True)
class Operations:
    """Multiply-adds in 1e9. `modules`: by top-level module, `REST` for what runs in none; they add up to `gmacs`.

    `uncounted`: operations that were executed and that the counter has no formula for: those of other libraries than torch,
    and of torch's own those that are `MULTIPLYING`.
    """

    gmacs: float
    modules: Mapping[str, float]
    uncounted: tuple[str, ...] = ()


@contextmanager
def countable_attention() -> Iterator[None]:
    """Make every attention run as plain matrix products.

    The fused encoder fast path and CPU flash attention have no FLOP formula: they would be counted as zero
    (pytorch#195460; 36 % of a ViT-B/16 at 224 px).
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def vector_flops(*shapes: Any, out_shape: Any = None, **_: Any) -> int:
    """FLOPs of a matrix (or a vector) times a vector, which torch counts as zero; a sum that it is added to comes first."""
    return 2 * math.prod(shapes[-2])


FORMULAS = {getattr(torch.ops.aten, name): vector_flops for name in ("mv", "addmv", "dot", "vdot")}


class Witness(TorchDispatchMode):
    """Sees what is left to execute below a counter, after it has taken composite operations apart.

    Raises `UserError` for attention that the counter has no formula for.
    """

    def __init__(self, formulas: Mapping[Any, Any]) -> None:
        super().__init__()
        self.formulas = formulas
        self.uncounted: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func._overloadpacket not in self.formulas:
            name = str(func._overloadpacket)
            if ATTENTION.search(name):
                raise UserError(
                    f"the method ran the attention {name}, which has no formula and would count as zero. Leave the choice "
                    "of the kernel to torch (no `sdpa_kernel`, no `set_fastpath_enabled` in the method), or give the "
                    "operation a formula with `torch.utils.flop_counter.register_flop_formula`."
                )
            if not name.startswith(("aten.", "prim.", "prims.")) or MULTIPLYING.search(name):
                self.uncounted.add(name)
        return func(*args, **(kwargs or {}))


def count_macs(call: Callable[[], object]) -> float:
    """Multiply-adds of one call, in 1e9: convolutions, matrix products, attention (half of what torch calls FLOPs)."""
    return count_operations(call).gmacs


def count_operations(call: Callable[[], object], module: nn.Module | None = None) -> Operations:
    """Count one call; by the top-level modules of `module`, if given. Raises `UserError` for attention without a formula."""
    counter = FlopCounterMode(display=False, custom_mapping=FORMULAS)
    witness = Witness(counter.flop_registry)
    with torch.no_grad(), countable_attention(), witness, counter, attributed(counter, module) as flops:
        call()
    total = counter.get_total_flops()
    flops = {name: count for name, count in flops.items() if count}
    rest = {REST: total - sum(flops.values())} if total != sum(flops.values()) else {}
    modules = {name: count / 2e9 for name, count in (flops | rest).items()}
    return Operations(total / 2e9, modules, tuple(sorted(witness.uncounted)))


@contextmanager
def attributed(counter: FlopCounterMode, module: nn.Module | None) -> Iterator[dict[str, int]]:
    """FLOPs by top-level module: those counted while it, or anything inside it, was the outermost module to run."""
    flops: dict[str, int] = {}
    running: list[int] = []  # what had been counted when each module that now runs began

    def begin(*_: object) -> None:
        running.append(counter.get_total_flops())

    def end(name: str) -> Callable[..., None]:
        def hook(*_: object) -> None:
            before = running.pop()
            if not running:
                flops[name] = flops.get(name, 0) + counter.get_total_flops() - before

        return hook

    with ExitStack() as hooks:
        for path, part in module.named_modules() if module is not None else ():
            if path:
                hooks.callback(part.register_forward_pre_hook(begin).remove)
                hooks.callback(part.register_forward_hook(end(path.split(".")[0])).remove)
        yield flops
