"""Files of NumPy arrays, whatever is in them."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsbench.errors import UserError

MAX_UNPACKED = 1 << 34
"""Bytes that an `.npz` may unpack to: more than the largest published tables of word vectors."""


def read_arrays(path: Path, what: str) -> dict[str, NDArray[Any]]:
    """The arrays of an `.npz` by name, or that of an `.npy` under an empty name; nothing in them is unpickled.

    `what` names the file in the `UserError` for any other one, and for one that is damaged or absurdly large.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as packed:
                unpacked = sum(entry.file_size for entry in packed.infolist())
            if unpacked > MAX_UNPACKED:
                raise ValueError(f"{path.stat().st_size:,} bytes that unpack to {unpacked:,}")
        loaded = np.load(path, allow_pickle=False)
        if not isinstance(loaded, np.lib.npyio.NpzFile):
            return {"": loaded}
        with loaded:
            arrays = {name: loaded[name] for name in loaded.files}
    except Exception as error:  # the parsers of zip, zlib and npy have a dozen unrelated ones for damaged files
        raise UserError(f"{path} cannot be read as {what} ({type(error).__name__}: {error}).") from None
    strange = [name for name, array in arrays.items() if not isinstance(array, np.ndarray)]
    if strange:
        raise UserError(f"{path} cannot be read as {what}: its entry {strange[0]!r} is no array.")
    return arrays
