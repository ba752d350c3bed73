"""Captions of scenes: English of about 100 words."""

from __future__ import annotations

import numpy as np

from .scene import Scene, Thing
from .things import ANY, COLOURS, ICONS
from .world import CLASSES, THINGS

FUNCTION_WORDS = (
    *("a", "an", "the", "one", "this", "there", "is", "of", "in", "on", "and", "with"),
    *("photo", "picture", "image", "scene", "small", "medium", "large"),
)

WORDS = tuple(dict.fromkeys([*FUNCTION_WORDS, *COLOURS, *(word for name in CLASSES for word in name.split())]))
"""Every word that a caption may hold."""

FRAMES = (
    "{}",
    "{}.",
    "a photo of {}",
    "a photo of {}.",
    "a picture of {}.",
    "an image of {}.",
    "this is a photo of {}.",
    "this is {}.",
    "there is {}.",
    "there is {} in the scene.",
    "this is {} in the scene.",
    "{} in the scene.",
    "a photo of {} in the scene.",
    "a scene with {}.",
)
"""What a caption is set in."""

NAME_FRAMES = (
    "a photo of a {}",
    "a photo of a {}.",
    "this is a photo of a {}.",
    "a {} in the scene.",
    "a photo of a {} in the scene.",
    "there is a {} in the scene.",
    "there is the {} in the scene.",
    "this is a {} in the scene.",
    "this is the {} in the scene.",
    "this is one {} in the scene.",
    "a picture of a {}.",
    "an image of the {}.",
    "a {}",
    "the {}.",
    "{}",
)
"""What a single name is set in; like the usual prompts, with "a" even where English wants "an" or nothing."""

COLOURED = tuple(name for name in THINGS if any(ANY in (part.paint, part.second) for part in ICONS[name]))
"""The things that come in several colours."""

Names = frozenset[str]


def names_in(scene: Scene) -> Names:
    """What a full caption of the scene names: its things, its stuffs, and things with their colours."""
    coloured = (f"{thing.colour} {thing.name}" for thing in scene.things if thing.colour)
    return frozenset([*(thing.name for thing in scene.things), *scene.stuffs, *coloured])


def caption(rng: np.random.Generator, scene: Scene) -> str:
    """A random caption: names most or all of the things, often the stuffs, nothing that is not there."""
    things = list({thing.name: thing for thing in scene.things}.values())
    rng.shuffle(things)
    if rng.random() < 0.35:
        things = things[: rng.integers(0, len(things) + 1)]
    stuffs = list(scene.stuffs)
    rng.shuffle(stuffs)
    if things and rng.random() < 0.4:
        stuffs = []
    elif rng.random() < 0.3:
        stuffs = stuffs[:1]
    if not things and not stuffs:
        return "a photo of the scene."
    text = " and ".join(describe(rng, thing) for thing in things)
    ground = " and ".join(f"{article(rng, name, mass=True)} {name}".strip() for name in stuffs)
    text = f"{text} on {ground}" if text and ground else text or ground
    return FRAMES[rng.integers(len(FRAMES))].format(text)


def describe(rng: np.random.Generator, thing: Thing) -> str:
    """A thing with an article, and sometimes its colour and its size."""
    words = [thing.name]
    if thing.colour and rng.random() < 0.6:
        words.insert(0, thing.colour)
    if rng.random() < 0.2:
        words.insert(0, thing.size)
    return f"{article(rng, words[0])} {' '.join(words)}"


def article(rng: np.random.Generator, word: str, mass: bool = False) -> str:
    """A word to go before `word`: mostly the right one, sometimes the "a" of prompts. Mass nouns need none."""
    chance = rng.random()
    if mass and chance < 0.6:
        return ""
    if chance < 0.7:
        return "an" if word[0] in "aeiou" else "a"
    return "a" if chance < 0.85 else "the" if chance < 0.95 else "one"
