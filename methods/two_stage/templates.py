"""The templates by which the released systems ask CLIP about a region."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from pydantic import AfterValidator

from zsbench.clip.templates import TEMPLATES, Sets, read_templates
from zsbench.errors import UserError

SCENE = ("A photo of a {} in the scene",)
IMAGENET_SELECT = (
    "itap of a {}.",
    "a bad photo of the {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
    *SCENE,
)
REGIONS32 = (
    "a bad photo of the {}.",
    "a photo of the large {}.",
    "a photo of the small {}.",
    "a cropped photo of a {}.",
    *(
        f"This is a {kind}photo of a {size}{{}}"
        for kind in ("", "masked ", "cropped ")
        for size in ("", "small ", "medium ", "large ")
    ),
    *SCENE,
    "a bad photo of the {} in the scene",
    "a photo of the large {} in the scene",
    "a photo of the small {} in the scene",
    "a cropped photo of a {} in the scene",
    "a photo of a masked {} in the scene",
    *(
        f"{start} {kind}{{}} in the scene"
        for kind in ("", "masked ")
        for start in ("There is a", "There is the", "This is a", "This is the", "This is one")
    ),
)
"""ZegFormer asks CLIP about masked crops with these 32."""
SCULPTURE = ("a sculpture of a {}.",)
VILD14 = (
    "a photo of a {}.",
    "This is a photo of a {}",
    "There is a {} in the scene",
    "There is the {} in the scene",
    "a photo of a {} in the scene",
    *(f"a photo of a {size} {{}}." for size in ("small", "medium", "large")),
    *(f"This is a photo of a {size} {{}}." for size in ("small", "medium", "large")),
    *(f"There is a {size} {{}} in the scene." for size in ("small", "medium", "large")),
)
OWN: Mapping[str, tuple[str, ...]] = {
    "scene": SCENE,
    "imagenet-select": IMAGENET_SELECT,
    "regions32": REGIONS32,
    "sculpture": SCULPTURE,
    "vild14": VILD14,
}
SETS: Sets = {**{name: partial(tuple, templates) for name, templates in OWN.items()}, **TEMPLATES}
"""The named sets: those of the released systems, and zsbench's."""

DATASET = "dataset"
"""Use the text embeddings that the run has for its vocabulary."""
LEARNED = "learned"
"""Use the prompts that were learnt."""


def checked_templates(*words: str) -> AfterValidator:
    """Accepts the name of a set, a template, a file of them, and `words`, which stand for something else."""
    known = {**SETS, **dict.fromkeys(words, tuple)}

    def check(value: str) -> str:
        if value not in known:  # a set is good, and may be slow to make
            try:
                read_templates(value, known)
            except UserError as error:
                raise ValueError(str(error)) from error
        return value

    return AfterValidator(check)
