"""What weights have seen is said by open_clip's tags, and by nothing that merely sounds like one."""

from __future__ import annotations

import open_clip
import pytest

from zsbench.clip.training_data import known_data, trained_on


def test_every_tag_is_known_but_those_of_nllb_clip():
    unknown = {tag for _, tag in open_clip.list_pretrained() if trained_on(tag) is None}
    assert unknown <= {"v1", "mrl"}


@pytest.mark.parametrize(
    ("tag", "data"),
    [
        ("openai", "WIT"),
        ("mscoco_finetuned_laion2b_s13b_b90k", "MS COCO"),
        ("laion2b_s34b_b88k", "LAION-2B"),
        ("metaclip_400m", "400 million pairs of CommonCrawl"),
        ("datacompdr_lt", "DataCompDR"),
        ("datacomp_xl_s13b_b90k", "a filtered part of CommonPool"),
    ],
)
def test_the_longest_beginning_decides(tag, data):
    assert data in trained_on(tag)


def test_every_source_can_be_looked_up():
    assert all(source.startswith("https://arxiv.org/abs/") for _, _, source in known_data())
    assert trained_on("mine") is None
