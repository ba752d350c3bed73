"""Label maps: a dictionary, and an explanation of what is not in it."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from zsbench.data import LabelMap
from zsbench.data.label_map import UNKNOWN
from zsbench.dataset import IGNORE
from zsbench.utils.colours import voc_palette

shapes = st.tuples(st.integers(1, 12), st.integers(1, 12))
raw_values = st.integers(0, 70)
VOC = LabelMap.consecutive(20, first=1, ignored=(0, 255))
quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@quick
@given(values=st.dictionaries(raw_values, st.integers(-1, 20), min_size=1), data=st.data())
def test_label_map_is_a_dictionary(values: dict[int, int], data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from([np.uint8, np.uint16, np.int32]))
    raw = data.draw(arrays(kind, shapes, elements=st.integers(-3 if kind == np.int32 else 0, 80)))
    expected = [[values.get(int(value), UNKNOWN) for value in row] for row in raw]
    assert LabelMap(values)(raw).tolist() == expected
    lenient = [[values.get(int(value), IGNORE) for value in row] for row in raw]
    assert LabelMap(values, otherwise=IGNORE)(raw).tolist() == lenient


def test_unknown_values_are_explained() -> None:
    palette = voc_palette(21)
    greys = np.asarray(Image.fromarray(np.array([palette[:21]], np.uint8)).convert("L"))
    for raw, text in (
        ([[1, 3, 21]], "21 is none of the expected 0..20, 255. Every label is one more"),
        ([[0, 3, 21]], "Either a class has no name here, or 0 is none and every label is one more than expected"),
        ([[0, 255, 30]], "30 is none"),
        (greys, "greys of the palette"),
    ):
        assert text in VOC.explain(np.array(raw), palette)
    assert "binary mask" in LabelMap.consecutive(2, ignored=()).explain(np.array([[0, 255]]))
