"""A mistake in what is checked against a model is one sentence that names the entry."""

from __future__ import annotations

from typing import Literal

import pytest
from pydantic import BaseModel, Field, model_validator

from zsbench.errors import UserError
from zsbench.utils.validation import validated


class Cake(BaseModel):
    layers: int = Field(1, ge=1)
    icing: Literal["lemon", "sugar"] | None = None
    sizes: tuple[int, ...] = ()

    @model_validator(mode="after")
    def stands(self):
        if self.layers > 9:
            raise ValueError("it falls")
        return self


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"layer": 1}, "unknown part: 'layer'. Did you mean 'layers'? Known: layers, icing, sizes."),
        ({"layers": 0}, "part: layers=0: Input should be greater than or equal to 1."),
        ({"icing": "lemmon"}, "part: icing='lemmon': Input should be 'lemon' or 'sugar'. Did you mean 'lemon'?"),
        ({"sizes": [1, "x"]}, "part: sizes.1='x': Input should be a valid integer, unable to parse"),
        ({"layers": 10}, "part: it falls."),
        ({"layers": True}, "part: layers=True: a yes or no says nothing here."),
    ],
)
def test_a_mistake_is_one_sentence(values, message):
    with pytest.raises(UserError) as error:
        validated(Cake, values, "part")
    assert str(error.value).startswith(message)


def test_fewer_names_may_be_known_than_there_are():
    assert validated(Cake, {"layers": 2}, "part", ["layers"]).layers == 2
    with pytest.raises(UserError, match="unknown part: 'sizes'"):
        validated(Cake, {"sizes": ()}, "part", ["layers"])
