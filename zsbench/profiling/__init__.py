"""What a method costs: parameters, multiply-adds with attention counted, time on a synchronised clock, memory, energy."""

from zsbench.profiling.cost import Conditions, profile_method
from zsbench.profiling.operations import count_macs, count_operations, countable_attention
from zsbench.profiling.parameters import learnable

__all__ = [
    "Conditions",
    "count_macs",
    "count_operations",
    "countable_attention",
    "learnable",
    "profile_method",
]
