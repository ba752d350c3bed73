"""Word vectors of the miniature world's captions: `python -m zsbench.datasets.miniworld.vectors --out words.npz`.

Counted from texts, as word2vec's are from news: which words stand near each other, as positive pointwise mutual information,
cut to a few directions by a singular value decomposition (Levy and Goldberg, 2014: what word2vec factorises implicitly).

Texts are captions, and after each a description of what it may name: the paints, forms and patterns that an icon is made of,
and a line about each stuff, as a dictionary has one. Captions alone do not tell names apart: scenes are put together at
random, so that all things keep the same company. No pixel is looked at.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import svds

from .captions import WORDS, caption
from .scene import scene
from .things import ANY, ICONS
from .world import WORLD_VERSION

STUFFS = {
    "grass": "green and light green rough noise",
    "sand": "beige and cream grain with stripes",
    "water": "blue and cyan smooth stripes",
    "brick": "red and brown box with beige stripes",
    "wood": "brown and beige smooth stripes",
    "sky": "blue and white smooth noise",
    "snow": "white grain and rough noise",
    "tile": "white and grey checker box",
    "road": "dark grey grain",
    "soil": "brown rough grain",
    "carpet": "purple and gold rings",
    "lava": "orange and red rough noise",
}
"""What a dictionary of this world would say of its stuffs."""

SPLIT, SCENES, CAPTIONS, WINDOW, DIM = "pretrain", 4_000, 4, 5, 24


def texts(seed: int) -> Iterable[list[str]]:
    """Words of random captions of the first scenes of a split, and of descriptions of what is in them."""
    rng = np.random.default_rng([WORLD_VERSION, seed])
    for index in range(SCENES):
        drawn = scene(SPLIT, index)
        yield from (words_of(caption(rng, drawn)) for _ in range(CAPTIONS))
        named = [*(thing.name for thing in drawn.things), *drawn.stuffs]
        yield from (words_of(line) for name in named for line in descriptions(name))


def descriptions(name: str) -> list[str]:
    """What is said of a stuff, and of each part of a thing: paints, form, pattern (`mushroom red white common dots`)."""
    if name in STUFFS:
        return [f"{name} {STUFFS[name]}"]
    lines = []
    for part in ICONS[name]:
        forms = [shape.__qualname__.partition(".")[0] for shape in (part.shape, part.pattern) if shape is not None]
        paints = [paint for paint in (part.paint, part.second) if paint not in (None, ANY)]
        lines.append(" ".join([name, *filter(None, paints), *forms]))
    return lines


def words_of(text: str) -> list[str]:
    return re.findall(r"\w+", text)


def neighbours(sentences: Iterable[list[str]]) -> tuple[list[str], NDArray[np.float64]]:
    """All words, and how often two of them stand at most `WINDOW` words apart: (W, W), symmetric."""
    sentences = list(sentences)
    words = sorted({word for sentence in sentences for word in sentence})
    rows = {word: row for row, word in enumerate(words)}
    counts = np.zeros((len(words), len(words)))
    for sentence in sentences:
        numbers = [rows[word] for word in sentence]
        for place, number in enumerate(numbers):
            near = numbers[place + 1 : place + 1 + WINDOW]
            np.add.at(counts, (number, near), 1)
    return words, counts + counts.T


def factorised(counts: NDArray[np.float64], dim: int) -> NDArray[np.float32]:
    """Vectors (W, dim) whose products approximate the positive pointwise mutual information of `counts` (W, W)."""
    total = counts.sum()
    expected = np.outer(counts.sum(1), counts.sum(0)) / total
    with np.errstate(divide="ignore", invalid="ignore"):
        information = np.nan_to_num(np.log(counts / expected), neginf=0.0).clip(min=0)
    left, strengths, _ = svds(information, dim, v0=np.ones(len(counts)), return_singular_vectors=True)
    order = np.argsort(-strengths)
    left = left[:, order] * np.sign(left[np.abs(left).argmax(0), np.arange(dim)])[order]  # a sign is arbitrary
    return (left * np.sqrt(strengths[order])).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    words, counts = neighbours(texts(arguments.seed))
    vectors = factorised(counts, DIM)[[words.index(word) for word in WORDS if word in words]]
    told = {"scenes": SCENES, "split": SPLIT, "captions": CAPTIONS, "window": WINDOW, "seed": arguments.seed}
    names = np.array([word for word in WORDS if word in words])
    np.savez(arguments.out, names=names, vectors=vectors, provenance=json.dumps(told))


if __name__ == "__main__":
    main()
