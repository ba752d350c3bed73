"""Output of any encoding takes any text."""

from __future__ import annotations

import io

import pytest

from zsbench.cli.streams import show_what_it_can


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "utf-8"])
def test_what_an_encoding_lacks_is_drawn_in_ascii(encoding):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    show_what_it_can(stream, io.StringIO())
    stream.write("50.0 ± 1.0 日")
    stream.flush()
    written = stream.buffer.getvalue().decode(encoding)
    spelt = {"ascii": "50.0 +- 1.0 \\u65e5", "utf-8": "50.0 ± 1.0 日"}
    assert written == spelt.get(encoding, "50.0 ± 1.0 \\u65e5")
