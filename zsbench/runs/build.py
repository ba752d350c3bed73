"""What a plan speaks of, built: the method with what it learnt, and the vocabularies that it is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from zsbench.checkpoint import load_trainable_state_dict, read_checkpoint
from zsbench.clip.model import Clip, load_clip
from zsbench.clip.text import Vocabulary, check_apart, check_known, encode_vocabulary, read_vocabulary
from zsbench.method import Method
from zsbench.runs.compatibility import check_clip
from zsbench.runs.plan import Plan
from zsbench.settings import TrainingView
from zsbench.training.rehearsal import explained


def load_encoder(plan: Plan) -> Clip | None:
    """The CLIP of a plan; None for a method that needs none."""
    return None if plan.clip is None or plan.weights is None else load_clip(plan.clip, plan.weights)


def build_method(plan: Plan, clip: Clip | None) -> Method:
    """The method on `clip`, filled from the checkpoint if there is one. Raises `UserError` where that does not fit."""
    path = plan.request.checkpoint
    if plan.checkpoint is not None and path is not None and clip is not None:
        check_clip(plan.checkpoint, path, clip)
    with explained(plan.method_class, "being made"):
        method = plan.method_class(clip, plan.options)
    if plan.released is not None:
        plan.released.fill(method)
    elif path is not None:
        load_trainable_state_dict(method, read_checkpoint(path)[1], str(path))
    return method


def build_told(plan: Plan) -> tuple[Method, Clip | None]:
    """The method of a plan, on its device and told the vocabulary, and its CLIP, without reading any image."""
    clip = load_encoder(plan)
    method = build_method(plan, clip)
    method.eval().to(plan.device).set_vocabulary(full_vocabulary(spoken(plan, clip), clip).to(plan.device))
    return method, clip


def spoken(plan: Plan, clip: Clip | None) -> Plan:
    """A plan with one template where CLIP is random, and says nothing of any prompt."""
    return replace(plan, templates="single") if clip is not None and clip.weights.random else plan


def training_vocabulary(plan: Plan, clip: Clip | None, view: TrainingView) -> Vocabulary:
    """What a view shows, each class by the first of its words."""
    first = {name: words[0] for name, words in zip(plan.dataset.classes, plan.names.synonyms, strict=True)}
    return embed_words(plan, clip, tuple(first[name] for name in view.names), view.seen.tolist())


def full_vocabulary(plan: Plan, clip: Clip | None) -> Vocabulary:
    """All words of all classes, those of seen classes marked; across datasets those that the source had learnt from."""
    return embed_words(plan, clip, plan.names.words, seen_words(plan))


def seen_words(plan: Plan) -> list[bool]:
    """Which of all words are those of seen classes."""
    source = plan.checkpoint if plan.checkpoint is not None and plan.request.transfer else plan.dataset
    seen = set(source.classes) - set(source.unseen)
    return [plan.dataset.classes[owner] in seen for owner in plan.names.word_to_class]


def embed_words(plan: Plan, clip: Clip | None, words: tuple[str, ...], seen: Sequence[bool]) -> Vocabulary:
    """The words as vectors; a `UserError` names those of different classes that cannot be told apart."""
    found, owners = (
        vectors_of(plan, clip, words, seen),
        dict(zip(plan.names.words, plan.names.word_to_class, strict=True)),
    )
    places, classes = [owners[word] for word in words], plan.dataset.classes
    check_apart(found, places, classes)
    word_of: dict[str | None, str] = {classes[place]: word for place, word in zip(places, words, strict=True)}
    listed = torch.tensor([float(plan.names.counts[word]) for word in words])
    counts = listed if (listed > 1).any() else None
    return replace(found, background=word_of.get(plan.dataset.background), counts=counts)


def vectors_of(plan: Plan, clip: Clip | None, words: tuple[str, ...], seen: Sequence[bool]) -> Vocabulary:
    """The words as word vectors, or as text embeddings: computed, or rows of a file, which lists all words in order."""
    if plan.words is not None or clip is None:
        assert plan.words is not None, "a plan has a CLIP or word vectors"
        return plan.words.vocabulary(words, seen)
    mask = torch.tensor(seen)
    if plan.request.text_embeddings is None:
        check_known(clip, words)
        return encode_vocabulary(clip, words, mask, plan.templates)
    everything = plan.names.words
    known = torch.ones(len(everything), dtype=torch.bool)
    whole = read_vocabulary(plan.request.text_embeddings, everything, known, clip.dim)
    rows = torch.tensor([everything.index(word) for word in words])
    return Vocabulary(words, whole.embeddings[rows], mask)
