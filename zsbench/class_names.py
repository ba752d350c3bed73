"""What a text encoder reads for each class: published name sets, synonyms, and files of a user's own.

Class names are part of the protocol: the same method loses or gains twenty points by them. A class is known
by its name in `Dataset.classes`; a name set says by which words it is put into the prompts.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from zsbench.errors import UserError
from zsbench.utils.files import printable, read_text

PLAIN = "plain"
"""The name set that every dataset has: its class names as they are."""
FOREGROUND = "foreground"
"""The name set of datasets with a background: its class names, and none for background, which is left to a threshold."""
NO_WORD = "-"
"""A line without a word: background that is left to a threshold."""


@dataclass(frozen=True)
class NameSet:
    """Words for each class, in label order; a class scores with the best of its words (max over synonyms).

    Only a background that is left to a threshold may have none.
    `name`: how the set is called, in results too. `source`: who published it.
    """

    name: str
    synonyms: tuple[tuple[str, ...], ...]
    source: str = ""

    @classmethod
    def parse(cls, name: str, lines: Sequence[str], source: str = "") -> NameSet:
        """One class a line, synonyms separated by `;` or `,`, or `-` for none. Raises `UserError` for an empty line."""
        split = [tuple(filter(None, (word.strip() for word in re.split("[;,]", line)))) for line in lines]
        for number, words in enumerate(split, 1):
            if not words:
                raise UserError(f"name set {name}: line {number} has no name; each class needs a line of its own.")
        return cls(name, tuple(() if words == (NO_WORD,) else words for words in split), source)

    @classmethod
    def respelt(cls, name: str, classes: Sequence[str], words: Mapping[str, str], source: str = "") -> NameSet:
        """One word a class: its name, or what `words` has in the place of it."""
        return cls(name, tuple((words.get(each, each),) for each in classes), source)

    @classmethod
    def plain(cls, classes: Sequence[str]) -> NameSet:
        """The class names as they are."""
        return cls(PLAIN, tuple((name,) for name in classes))

    @property
    def words(self) -> tuple[str, ...]:
        """All words once, in label order: what is encoded. A word of two classes is the first one's.

        Two classes with the same word tie wherever that word decides, and the arg max gives a tie to the
        first.
        """
        return tuple(dict.fromkeys(word for words in self.synonyms for word in words))

    @property
    def counts(self) -> Mapping[str, int]:
        """How often the list has each of `words`: a softmax over all of it counts a word of two classes twice."""
        return Counter(word for words in self.synonyms for word in words)

    @property
    def word_to_class(self) -> tuple[int, ...]:
        """For each of `words` the index of its class: an arg max over words, looked up here, is one over classes."""
        owner: dict[str, int] = {}
        for index, words in enumerate(self.synonyms):
            for word in words:
                owner.setdefault(word, index)
        return tuple(owner.values())

    @property
    def wordless(self) -> tuple[int, ...]:
        """The classes all of whose words are those of classes before them: they can never win."""
        return tuple(i for i, words in enumerate(self.synonyms) if words and i not in self.word_to_class)

    @property
    def sha256(self) -> str:
        """Hash of all words in order; without synonyms it is that of the plain list, one name a line."""
        return hashlib.sha256("\n".join("; ".join(words) for words in self.synonyms).encode()).hexdigest()


def read_names(path: Path, classes: Sequence[str]) -> NameSet:
    """The name set of a text file: a line for each of `classes`, in their order, synonyms separated by `;` or `,`.

    Raises `UserError` for a missing file, a wrong number of lines, a line without a word, and a word given to
    two classes.
    """
    lines = read_text(path, "list of class names").rstrip().splitlines()
    if len(lines) != len(classes):
        raise UserError(
            f"{path}: {len(lines)} lines for {len(classes)} classes. Each class needs one line, in this order: "
            + ", ".join(classes[:5])
            + ", ..."
        )
    return own_words(NameSet.parse(printable(path.stem), lines, str(path)), classes)


def own_words(names: NameSet, classes: Sequence[str]) -> NameSet:
    """`names`, a set of a user's own. Raises `UserError` for a word that two of the `classes` have.

    Published sets may share words between classes: they are what they are.
    """
    owner: dict[str, int] = {}
    for index, words in enumerate(names.synonyms):
        for word in words:
            if owner.setdefault(word, index) != index and max(index, owner[word]) < len(classes):
                twice = f"{classes[owner[word]]!r} (line {owner[word] + 1}) and {classes[index]!r} (line {index + 1})"
                raise UserError(
                    f"{names.source}: {word!r} is given to two classes, {twice}; a class needs its own words."
                )
    return names


def by_name(*sets: NameSet) -> Mapping[str, NameSet]:
    """Name sets by their names, as `Dataset.name_sets` has them."""
    return {each.name: each for each in sets}


def simplified(name: str) -> str:
    """A class name without case, spaces and punctuation: `dining table` is spelt in several ways."""
    return "".join(filter(str.isalnum, name.lower()))
