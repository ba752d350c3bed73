"""Word vectors instead of a text encoder: word2vec, GloVe and fastText, for methods that need no CLIP.

A name's vector is found by one rule, in this order:

1. the table's entry of that very name; else the first with the same letters and digits (`Potted_Plant`, `potted plant`);
2. for a name of several words (split at what is neither letter nor digit): the sum of their vectors as they are in the
   table, each found by 1, brought to norm 1, as SPNet's repository makes its own (Xian et al., CVPR 2019);
3. else an error: no vector is ever made up.
"""

from __future__ import annotations

import difflib
import hashlib
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from zsbench.class_names import NameSet, simplified
from zsbench.clip.text import Seen, Vocabulary, checked_seen
from zsbench.errors import UserError
from zsbench.utils.arrays import read_arrays
from zsbench.utils.extras import optional
from zsbench.utils.files import locate, printable, write_atomically

FASTTEXT_BINARY = (793712314).to_bytes(4, "little")
"""How a model of fastText begins, whose `.bin` is another format than word2vec's."""
LOOKED_THROUGH = 100_000
"""Words of a table, the most frequent ones, among which the nearest to an unknown one are looked for."""


@dataclass(frozen=True, eq=False)
class WordVectors:
    """A table of word vectors: `names` (N), `vectors` float32 (N, D) of any norm; `source` is named in messages."""

    names: Sequence[str]
    vectors: NDArray[np.float32]
    source: str

    @property
    def sha256(self) -> str:
        """Hash of names and vectors: equal for the same words and numbers in whatever file."""
        digest = hashlib.sha256(json.dumps(list(self.names)).encode())
        digest.update(self.vectors.astype("<f4").tobytes())
        return digest.hexdigest()

    @cached_property
    def _rows(self) -> Mapping[str, int]:
        return {name: row for row, name in reversed(list(enumerate(self.names)))}

    @cached_property
    def _simplified_rows(self) -> Mapping[str, int]:
        return {simplified(name): row for row, name in reversed(list(enumerate(self.names)))}

    def entry(self, name: str) -> NDArray[np.float32] | None:
        """float32 (D,) of one entry, by its spelling or else by its letters and digits; None where there is none."""
        row = self._rows.get(name)
        if row is None and simplified(name):
            row = self._simplified_rows.get(simplified(name))
        return None if row is None else self.vectors[row]

    def vector(self, name: str) -> NDArray[np.float32]:
        """float32 (D,) of a name, by the rule of this module. Raises `KeyError` with the word that the table lacks."""
        whole = self.entry(name)
        if whole is not None:
            return whole
        words = re.findall(r"[^\W_]+", name)
        if len(words) < 2:
            raise KeyError(name)
        total = np.zeros(self.vectors.shape[1], np.float32)
        for word in words:
            vector = self.entry(word)
            if vector is None:
                raise KeyError(word)
            total += vector
        return total / (np.linalg.norm(total) or np.float32(1))

    def nearest(self, word: str) -> list[str]:
        """The three words that are spelt most like `word`, the most similar first; fewer where they are unlike."""
        candidates = list(itertools.islice(self.names, LOOKED_THROUGH))
        return difflib.get_close_matches(word.lower(), candidates, n=3, cutoff=0.4)

    def of(self, names: NameSet, classes: Sequence[str]) -> WordVectors:
        """The table of the words of a name set. Raises `UserError` for an unknown word, naming its class and the nearest."""
        rows = []
        for name, owner in zip(names.words, names.word_to_class, strict=True):
            try:
                rows.append(self.vector(name))
            except KeyError as error:
                (word,) = error.args
                raise UserError(
                    f"{self.source} has no vector for {word!r}, which the class {classes[owner]!r} needs. Nearest: "
                    f"{', '.join(self.nearest(word)) or 'none'}. Give other words by --classes: a name set of the dataset, "
                    "or a file with a line for each class."
                ) from None
            if not (np.isfinite(rows[-1]).all() and rows[-1].any()):
                raise UserError(
                    f"{self.source}: the vector of {name!r}, which the class {classes[owner]!r} needs, is zero or not "
                    "finite. Give another word by --classes, or other --words."
                )
        return WordVectors(names.words, np.stack(rows), self.source)

    def vocabulary(self, words: Sequence[str], seen: Seen) -> Vocabulary:
        """The vocabulary of entries of this table; `seen`: bool (W,)."""
        rows = [self._rows[word] for word in words]
        return Vocabulary(tuple(words), torch.from_numpy(self.vectors[rows]), checked_seen(words, seen))


def read_word_vectors(path: Path) -> WordVectors:
    """The table in a file: `.npz` with the arrays `names` (N) and `vectors` (N, D), or whatever gensim reads.

    That is `.vec` and `.txt` (word2vec, GloVe, fastText) and `.bin` (word2vec, fastText). An `.npz` may also have one array
    of another name, or several, of which one is named after the file: `vectors.npz:fasttext`. Raises `UserError` for
    anything else, and where gensim is needed and not installed.
    """
    file, array = locate(path)
    if file.suffix == ".npz":
        names, vectors = read_table(file, array)
    elif file.suffix in (".vec", ".txt", ".bin"):
        names, vectors = read_by_gensim(file)
    else:
        raise UserError(f"{file}: word vectors are read from .npz, .vec, .txt and .bin files.")
    return WordVectors(names, vectors, printable(path.name))


def read_table(path: Path, array: str = "") -> tuple[list[str], NDArray[np.float32]]:
    """Names and vectors of an `.npz`: those of the array of that name, or of the only one."""
    what = "an .npz of word vectors with their `names`"
    arrays = read_arrays(path, what)
    names = arrays.pop("names", None)
    if names is None:
        raise UserError(f"{path} cannot be read as {what}: it has {', '.join(arrays)}.")
    fitting = [name for name, found in arrays.items() if found.dtype.kind == "f" and found.shape[:-1] == names.shape]
    chosen = [name for name in fitting if name == array] if array else fitting
    if names.dtype.kind != "U" or names.ndim != 1 or len(chosen) != 1:
        raise UserError(
            f"{path}{array and f':{array}'}: expected `names`, and one table of floats with a row for each of them; it has "
            f"{', '.join(fitting) or 'none'}. Of several, name one: {path}:{(fitting or ['vectors'])[0]}"
        )
    return names.tolist(), arrays[chosen[0]].astype(np.float32)


def read_by_gensim(path: Path) -> tuple[list[str], NDArray[np.float32]]:
    """Names and vectors of a file of word2vec, GloVe or fastText, told apart by how it begins."""
    models = optional("gensim.models", "words")
    with path.open("rb") as stream:
        start = stream.readline(100)
    try:
        if start.startswith(FASTTEXT_BINARY):
            table = optional("gensim.models.fasttext", "words").load_facebook_vectors(path)
        else:
            header = len(start.split()) == 2  # how many words, how many numbers each; GloVe has no such line
            form = {"binary": path.suffix == ".bin", "no_header": not header, "unicode_errors": "replace"}
            table = models.KeyedVectors.load_word2vec_format(path, **form)
    except Exception as error:  # gensim's readers raise anything at all on other files
        raise UserError(f"{path} cannot be read as word vectors ({type(error).__name__}: {error}).") from error
    return table.index_to_key, table.vectors


def scaled(table: WordVectors, norm: str) -> WordVectors:
    """A table divided by `none`: nothing; `unit`: the norm of each row; `largest`: the largest norm of its rows."""
    if norm == "none":
        return table
    norms = np.linalg.norm(table.vectors, axis=1, keepdims=True)
    divisor = norms if norm == "unit" else norms.max()
    return replace(table, vectors=(table.vectors / divisor).astype(np.float32))


def side_by_side(tables: Sequence[WordVectors]) -> WordVectors:
    """Tables of the same names as one, with the columns of all."""
    vectors = np.concatenate([table.vectors for table in tables], axis=1)
    return WordVectors(tables[0].names, vectors, ", ".join(table.source for table in tables))


def write_word_vectors(path: Path, table: WordVectors, provenance: Mapping[str, Any]) -> None:
    """Write a table as the `.npz` that `read_word_vectors` takes, with where it comes from as JSON in `provenance`."""

    def write(temporary: Path) -> None:
        with temporary.open("wb") as stream:  # given a path, numpy would add a suffix
            np.savez(stream, names=table.names, vectors=table.vectors, provenance=json.dumps(provenance))

    write_atomically(path, write)
