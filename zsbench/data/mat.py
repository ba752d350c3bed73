"""MATLAB files of version 5 as far as annotations use them: numeric arrays and structures of these.

The format is that of MathWorks' "MAT-File Format"; cells, sparse arrays and objects are passed over.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsbench.errors import UserError

MI_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
MI_MATRIX, MI_COMPRESSED = 14, 15
MX_STRUCT = 2
MX_TYPES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
HEADER = 128
MAX_INFLATED = 1 << 28
MAX_DEPTH = 8

Value = Any
"""A numeric array, a dictionary of the fields of a structure, or None for what is passed over."""


def read_mat(path: Path) -> dict[str, Value]:
    """The variables of a MAT-file by name. Raises `UserError` naming a file that is missing, damaged, or of another kind."""
    try:
        content = path.read_bytes()
        if len(content) < HEADER or content[126:128] not in (b"IM", b"MI"):
            raise ValueError("no header of version 5 (a file of version 7.3 is HDF5)")
        order = "<" if content[126:128] == b"IM" else ">"
        return {name: value for name, value in Parser(order).elements(content[HEADER:])}
    except FileNotFoundError:
        raise UserError(f"{path}: no such file.") from None
    except (OSError, ValueError, IndexError, TypeError, KeyError, zlib.error, OverflowError) as error:
        raise UserError(f"{path}: not a readable MATLAB file ({error}).") from None


class Parser:
    """Elements of a MAT-file in one byte order."""

    def __init__(self, order: str) -> None:
        self.order = order

    def integers(self, content: bytes, kind: str = "u4") -> list[int]:
        return [int(value) for value in np.frombuffer(content, np.dtype(self.order + kind))]

    def split(self, content: bytes) -> list[tuple[int, bytes]]:
        """The (type, data) elements that follow one another."""
        found, place = [], 0
        while place + 8 <= len(content):
            kind, size = self.integers(content[place : place + 8])
            if kind >> 16:  # a small element: size and type share one word, up to four bytes follow in the other
                kind, size, start, step = kind & 0xFFFF, kind >> 16, place + 4, 8
            else:
                start, step = place + 8, 8 + size + (0 if kind == MI_COMPRESSED else -size % 8)
            if start + size > len(content):
                raise ValueError("it is cut short")
            found.append((kind, content[start : start + size]))
            place += step
        return found

    def elements(self, content: bytes) -> list[tuple[str, Value]]:
        """Name and value of each matrix."""
        found = []
        for kind, data in self.split(content):
            if kind == MI_COMPRESSED:
                inflater = zlib.decompressobj()
                inflated = inflater.decompress(data, MAX_INFLATED)
                if inflater.unconsumed_tail:
                    raise ValueError("it unpacks to an absurd size")
                ((kind, data),) = self.split(inflated)[:1]
            if kind == MI_MATRIX and data:
                found.append(self.matrix(data))
        return found

    def matrix(self, content: bytes, depth: int = 0) -> tuple[str, Value]:
        """Name and value of one matrix element."""
        if depth > MAX_DEPTH:
            raise ValueError("it is nested too deeply")
        (_, flags), (_, raw_shape), (_, name), *rest = self.split(content)
        kind, shape = self.integers(flags)[0] & 0xFF, self.integers(raw_shape, "i4")
        if kind == MX_STRUCT:
            return name.decode("latin-1"), self.structure(shape, rest, depth)
        if kind in MX_TYPES and rest:
            return name.decode("latin-1"), self.array(MX_TYPES[kind], shape, *rest[0])
        return name.decode("latin-1"), None

    def array(self, kind: str, shape: list[int], stored: int, data: bytes) -> NDArray[Any]:
        """A numeric array; it may be stored in a smaller type than its own, in column order."""
        values = np.frombuffer(data, np.dtype(self.order + MI_TYPES[stored]))
        return values.reshape(shape, order="F").astype(np.dtype(kind))

    def structure(self, shape: list[int], rest: list[tuple[int, bytes]], depth: int) -> Value:
        """The fields of a structure of one element; None for an array of structures."""
        if int(np.prod(shape)) != 1:
            return None
        (_, raw_length), (_, raw_names), *fields = rest
        length = self.integers(raw_length, "i4")[0]
        if length <= 0:
            raise ValueError("a structure without field names")
        names = [raw_names[i : i + length].split(b"\0")[0].decode("latin-1") for i in range(0, len(raw_names), length)]
        values = [self.matrix(data, depth + 1)[1] if data else None for _, data in fields]
        return dict(zip(names, values, strict=True))
