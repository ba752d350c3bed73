"""Sets of prompt templates, and how a user's own are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from zsbench.errors import UserError, did_you_mean
from zsbench.utils.files import read_text

SINGLE = ("a photo of a {}",)
"""CLIP's plain prompt without a full stop, as ZegCLIP's VOC embeddings were made."""

VILD15 = (
    "a photo of a {}.",
    "a photo of a small {}.",
    "a photo of a medium {}.",
    "a photo of a large {}.",
    "This is a photo of a {}.",
    "This is a photo of a small {}.",
    "This is a photo of a medium {}.",
    "This is a photo of a large {}.",
    "a {} in the scene.",
    "a photo of a {} in the scene.",
    "There is a {} in the scene.",
    "There is the {} in the scene.",
    "This is a {} in the scene.",
    "This is the {} in the scene.",
    "This is one {} in the scene.",
)
"""The prompts of ZegCLIP's COCO-Stuff embeddings, after those of ViLD."""


def imagenet80() -> tuple[str, ...]:
    """The 80 templates of CLIP's ImageNet evaluation, as open_clip ships them."""
    import open_clip  # slow to import, and needed for this set alone

    return tuple(template("{}") for template in open_clip.OPENAI_IMAGENET_TEMPLATES)


def maskclip85() -> tuple[str, ...]:
    """Those 80 and five of things in a scene, as MaskCLIP averages them."""
    scene = [f"{head} in the scene." for head in ("there is a {}", "there is the {}", "this is a {}", "this is the {}")]
    return (*imagenet80(), *scene, "this is one {} in the scene.")


Sets = Mapping[str, Callable[[], tuple[str, ...]]]
TEMPLATES: Sets = {
    "single": lambda: SINGLE,
    "vild15": lambda: VILD15,
    "imagenet80": imagenet80,
    "maskclip85": maskclip85,
}
"""The named sets."""


def read_templates(templates: str | Sequence[str], sets: Sets = TEMPLATES) -> tuple[str, ...]:
    """The templates meant: the name of one of `sets`, one template, the path of a text file (one a line), or a list.

    Raises `UserError` for an unknown name, and for a template without exactly one `{}`, the place of the
    class name.
    """
    if not isinstance(templates, str):
        return _checked(templates, "templates")
    if templates in sets:
        return sets[templates]()
    if "{}" in templates:
        return _checked([templates], "templates")
    path = Path(templates)
    if not path.is_file():
        raise UserError(
            f"no set of templates is called {templates!r}, and no file.{did_you_mean(templates, sets)} "
            f"Sets: {', '.join(sets)}. Instead of a set, give a template such as 'a photo of a {{}}', "
            "or a text file of templates."
        )
    lines = read_text(path, "text file of templates").splitlines()
    return _checked([line.strip() for line in lines if line.strip()], str(path))


def _checked(templates: Sequence[str], source: str) -> tuple[str, ...]:
    if not templates:
        raise UserError(f"{source}: empty; expected one template or more, such as 'a photo of a {{}}'.")
    for template in templates:
        if template.count("{}") != 1:
            raise UserError(f"{source}: {template!r} must hold {{}}, for the class name, exactly once.")
    return tuple(templates)
