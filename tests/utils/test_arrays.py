"""Arrays are read, or refused in a sentence; nothing is unpickled, nothing unpacks to absurd sizes."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest

from zsbench.errors import UserError
from zsbench.utils import arrays
from zsbench.utils.arrays import read_arrays


def test_both_kinds(tmp_path):
    np.save(tmp_path / "x.npy", np.eye(2))
    np.savez(tmp_path / "x.npz", a=np.eye(2), b=np.zeros(3))
    assert np.array_equal(read_arrays(tmp_path / "x.npy", "things")[""], np.eye(2))
    assert read_arrays(tmp_path / "x.npz", "things").keys() == {"a", "b"}


def claim(shape: str) -> bytes:
    """An `.npy` that says to have this shape, and ends after its header."""
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}}}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header


@pytest.mark.parametrize(
    "content",
    [b"", b"x" * 99, b"\x93NUMPY\1\0", claim("(1" + "0" * 15 + ",)"), claim("(-1,)"), claim("(3"), claim("'a'")],
)
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "x.npy").write_bytes(content)
    with pytest.raises(UserError, match=r"x\.npy cannot be read as things"):
        read_arrays(tmp_path / "x.npy", "things")


def test_entries_that_are_no_arrays_objects_and_bombs_are_refused(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as packed:
        packed.writestr("readme.txt", "no array")
    with pytest.raises(UserError, match=r"its entry 'readme\.txt' is no array"):
        read_arrays(tmp_path / "x.npz", "things")
    np.save(tmp_path / "x.npy", np.array([{}]))
    with pytest.raises(UserError, match=r"cannot be read as things .*allow_pickle"):
        read_arrays(tmp_path / "x.npy", "things")
    monkeypatch.setattr(arrays, "MAX_UNPACKED", 1 << 20)
    np.savez_compressed(tmp_path / "b.npz", np.zeros(1 << 20, np.uint8))
    with pytest.raises(UserError, match="bytes that unpack to 1,048,704"):
        read_arrays(tmp_path / "b.npz", "things")
