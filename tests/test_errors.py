"""What a word that nobody knows may have meant."""

import pytest

import zsbench
from zsbench.errors import UserError, did_you_mean
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
        ("warmup", Recipe.model_fields, "warmup_iterations"),
        ("Batch-Size", Recipe.model_fields, "batch_size"),
        ("vit-b-16", MODELS, "ViT-B-16"),
        ("ViT_L/14", MODELS, "ViT-L-14"),
        ("rn5O", MODELS, "RN50"),
        ("voc", ("ade20k", "voc20"), "voc20"),
        ("voc2012", ("voc20", "voc21", "pascal-voc"), "pascal-voc"),
        ("VOC", ("voc20", "pascal-voc", "ade20k"), "pascal-voc"),
        ("ADE", ("ade-full", "ade20k"), "ade20k"),
        ("batchsize", ("size", "largest_batch"), "largest_batch"),
        ("batch", Recipe.model_fields, "batch_size"),
        ("gamma", ("sigma", "tau"), "sigma"),
        ("zegclp", ("maskclip", "zegclip"), "zegclip"),
    ],
)
def test_the_nearest_word_means_the_same(word, choices, meant):
    assert did_you_mean(word, choices) == f" Did you mean {meant!r}?"


@pytest.mark.parametrize("word", ["", "?", "xyzzy", "voting"])
def test_nothing_is_near_what_is_far(word):
    assert did_you_mean(word, Recipe.model_fields) == ""


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: zsbench.load_dataset("miniworld", rot="x"), "load_dataset has no keyword 'rot'. Did you mean 'root'?"),
        (
            lambda: zsbench.compare("a", "b", replicate=3),
            "compare has no keyword 'replicate'. Did you mean 'replicates'?",
        ),
        (lambda: zsbench.push("a", "me/a", licence="mit"), "push has no keyword 'licence'. Did you mean 'license'?"),
    ],
)
def test_a_wrong_keyword_of_a_function_is_told(call, told):
    with pytest.raises(UserError) as found:
        call()
    assert str(found.value).startswith(told)


def test_a_notebook_shows_the_users_own_line_and_the_message_alone():
    with pytest.raises(UserError) as found:
        zsbench.evaluate("maskclop")
    line, message = found.value._render_traceback_()
    assert line.endswith(': zsbench.evaluate("maskclop")') and message.startswith(
        "UserError: unknown method 'maskclop'"
    )
