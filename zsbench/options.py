"""What a method can be told, without torch: its options, named sets of them, and what it changes for one dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict


@dataclass(frozen=True)
class Preset:
    """What a method changes for one dataset: overrides of its options, of the recipe, and of the dataset's protocol; and
    other words than the dataset's default (`names`: a name set, `templates`: a set of prompt templates)."""

    options: Mapping[str, Any] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    protocol: Mapping[str, Any] = field(default_factory=dict)
    names: str | None = None
    templates: str | None = None


@dataclass(frozen=True)
class Ablation:
    """A row of an ablation table: the variant that it measures, and its label in the paper."""

    variant: str
    label: str


class Options(BaseModel):
    """Base of a method's options: typed fields with defaults and a `Field(description=...)`; unknown names are refused.

    `variants`: named overrides of them (`--variant`). `presets`: overrides by dataset name, `*` for all; `variant_presets`:
    those of a variant that is another system, in the place of the method's. `protocols`: named
    overrides of the dataset's protocol (`--protocol`), after the preset's. `tables`: the ablation tables of the method's
    paper, by number. A file that holds them beside the method's own, and imports no torch, lets a misspelt word be answered
    at once.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True, validate_default=True)

    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    presets: ClassVar[Mapping[str, Preset]] = {}
    variant_presets: ClassVar[Mapping[str, Mapping[str, Preset]]] = {}
    protocols: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    tables: ClassVar[Mapping[int, tuple[Ablation, ...]]] = {}

    @classmethod
    def preset(cls, dataset: str, like: str = "", variant: str | None = None) -> Preset:
        """What the method, or a variant of it, changes for the dataset of that name: the preset `*`, overridden by the
        dataset's own or, without one, by that of the dataset that it is `like`."""
        presets = cls.variant_presets.get(variant or "", cls.presets)
        every, own = presets.get("*", Preset()), presets.get(dataset, presets.get(like, Preset()))
        return Preset(
            {**every.options, **own.options},
            {**every.recipe, **own.recipe},
            {**every.protocol, **own.protocol},
            own.names or every.names,
            own.templates or every.templates,
        )

    def verify(self, ids: Sequence[str]) -> None:
        """Raise `UserError` for what cannot work with the split whose images are `ids`, before any of it is evaluated."""
