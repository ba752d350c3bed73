"""What a word that nobody knows may have meant."""

import pytest

from zsbench.errors import did_you_mean
from zsbench.recipe import Recipe

MODELS = ("ViT-B-16", "ViT-B-16-quickgelu", "ViT-L-14", "RN50")


@pytest.mark.parametrize(
    ("word", "choices", "meant"),
    [
        ("lr", Recipe.model_fields, "learning_rate"),
        ("wd", Recipe.model_fields, "weight_decay"),
        ("optimizer", Recipe.model_fields, "optimiser"),
        ("epochs", Recipe.model_fields, "iterations"),
        ("clip_grad", Recipe.model_fields, "gradient_clip"),
        ("warmup", Recipe.model_fields, "warmup_ratio"),
        ("Batch-Size", Recipe.model_fields, "batch_size"),
        ("vit-b-16", MODELS, "ViT-B-16"),
        ("ViT_L/14", MODELS, "ViT-L-14"),
        ("rn5O", MODELS, "RN50"),
        ("voc", ("ade20k", "voc20"), "voc20"),
        ("zegclp", ("maskclip", "zegclip"), "zegclip"),
    ],
)
def test_the_nearest_word_means_the_same(word, choices, meant):
    assert did_you_mean(word, choices) == f" Did you mean {meant!r}?"


@pytest.mark.parametrize("word", ["", "?", "xyzzy", "color"])
def test_nothing_is_near_what_is_far(word):
    assert did_you_mean(word, Recipe.model_fields) == ""
