"""Pages of HTML that stand alone: one file, which asks no network for anything, and shows foreign words as they are."""

from __future__ import annotations

import base64
import math
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from zsbench.reports.markup import plain
from zsbench.reports.tables import short

DASH = "-"


def render(template: str, **context: Any) -> str:
    """A page from `templates/`, all of whose words are escaped; a misspelt one is an error."""
    return ENVIRONMENT.get_template(template).render(**context)


def fixed(value: float, digits: int = 1) -> str:
    """A number with `digits` decimals, or a dash where it is undefined."""
    return DASH if math.isnan(value) else f"{value:.{digits}f}"


def percent(value: float) -> float:
    """A percentage as the length of a bar; 0 where it is undefined."""
    return 0.0 if math.isnan(value) else round(min(max(value, 0.0), 100.0), 1)


def letter(number: int) -> str:
    """A, B, ..., Z, AA, AB, ..."""
    return (letter(number // 26 - 1) if number >= 26 else "") + chr(ord("A") + number % 26)


def data_uri(png: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(png.read_bytes()).decode()


ENVIRONMENT = Environment(
    loader=PackageLoader("zsbench.reports"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
ENVIRONMENT.filters.update(fixed=fixed, percent=percent, plain=plain, short=short)
ENVIRONMENT.tests["undefined_number"] = math.isnan
ENVIRONMENT.globals["series"] = lambda number: f"s{number % 6}"
