"""Template sets, synonyms, and learnt prompts against the text encoder itself."""

import pytest
import torch

from zsbench.clip.model import load_clip
from zsbench.clip.text import Vocabulary, encode_prompts
from zsbench.errors import UserError
from zsbench.methods.two_stage.prompts import LearnedPrompts, encode
from zsbench.methods.two_stage.templates import OWN, REGIONS32


def vocabulary(clip, *names):
    embeddings = torch.nn.functional.normalize(torch.randn(len(names), clip.dim), dim=-1)
    return Vocabulary(names, embeddings, torch.ones(len(names), dtype=torch.bool))


def test_sets_have_the_released_sizes():
    sizes = {name: len(templates) for name, templates in OWN.items()}
    assert sizes == {"scene": 1, "imagenet-select": 8, "regions32": 32, "sculpture": 1, "vild14": 14}
    assert all(len(set(templates)) == len(templates) for templates in OWN.values())
    assert all(template.count("{}") == 1 for templates in OWN.values() for template in templates)


def test_synonyms_share_the_mean_of_all_their_prompts(tiny_clip, tmp_path):
    templates = ["a photo of a {}.", "the {}"]
    known = vocabulary(tiny_clip, "red square, grey", "blue, red square")
    encoded = encode(tiny_clip, known, "dataset")
    assert encoded is known.embeddings
    prompts = [t.format(n) for t in templates for n in ("red square", "grey")]
    expected = torch.nn.functional.normalize(encode_prompts(tiny_clip, prompts).mean(0), dim=0)
    file = tmp_path / "two.txt"
    file.write_text("\n".join(templates))
    torch.testing.assert_close(encode(tiny_clip, known, str(file))[0], expected)


def test_prompts_made_of_word_embeddings_are_the_words(tiny_clip):
    learnt = LearnedPrompts(tiny_clip, length=4)
    tokens = tiny_clip.tokenizer(["a photo of the"])[0, 1:5]
    learnt.prefix.copy_(tiny_clip.model.token_embedding(tokens))
    names = ("red square", "grey", "the blue square")
    expected = encode_prompts(tiny_clip, [f"a photo of the {name}." for name in names])
    torch.testing.assert_close(learnt(tiny_clip.model, names), expected)


@pytest.mark.slow
def test_the_same_with_the_text_encoder_of_openai():
    clip = load_clip("ViT-B-16-quickgelu", "random")
    learnt = LearnedPrompts(clip, length=5)
    learnt.prefix.copy_(clip.model.token_embedding(clip.tokenizer(["a photo of a large"])[0, 1:6]))
    expected = encode_prompts(clip, ["a photo of a large tvmonitor.", "a photo of a large potted plant."])
    with torch.no_grad():
        torch.testing.assert_close(learnt(clip.model, ("tvmonitor", "potted plant")), expected, atol=1e-5, rtol=1e-4)


def test_only_the_prefix_is_learnt(tiny_clip):
    learnt = LearnedPrompts(tiny_clip, length=2, learn=True)
    learnt(tiny_clip.model, ("red square",)).sum().backward()
    assert learnt.prefix.grad is not None and learnt.prefix.grad.abs().min() > 0
    assert all(parameter.grad is None for parameter in tiny_clip.model.parameters())
    assert list(LearnedPrompts(tiny_clip, length=2).parameters()) == []


def test_names_that_are_too_long_are_refused(tiny_clip):
    with pytest.raises(UserError, match="places"):
        LearnedPrompts(tiny_clip, length=9)(tiny_clip.model, ("red green blue square",))


def test_prompts_of_a_file(tiny_clip, tmp_path):
    path = tmp_path / "prompts.pt"
    prefix = torch.randn(4, 16)
    torch.save({"clip_adapter.prompt_learner.prefix_prompt": prefix}, path)
    learnt = LearnedPrompts(tiny_clip, length=4)
    learnt.load(path)
    assert torch.equal(learnt.prefix, prefix)
    with pytest.raises(UserError, match="prompt_length=4"):
        LearnedPrompts(tiny_clip, length=3).load(path)
    torch.save({"something.else": prefix}, path)
    with pytest.raises(UserError, match="no learnt prompts"):
        learnt.load(path)


@pytest.mark.slow
def test_reference_text_of_zegformer(golden, golden_clip):
    """Queries are compared with one prompt, regions with the mean of 32: `dining table` is one word in that release."""
    stored = golden("zegformer_r50_voc20_480x640")
    clip = golden_clip("sem_seg_head.predictor.clip_model.")
    names = ("aeroplane", "diningtable", "potted plant")
    rows = [0, 10, 15]
    for templates, key in (("scene", "text_features_test"), ("regions32", "text_features_test_clip")):
        encoded = encode(clip, vocabulary(clip, *names), templates)
        torch.testing.assert_close(encoded, torch.from_numpy(stored[key][rows]), atol=1e-5, rtol=1e-3)
    assert len(REGIONS32) == 32


@pytest.mark.slow
def test_reference_text_of_zsseg(golden, golden_clip):
    stored = golden("zsseg_r50_voc20_480x640")
    clip = golden_clip("clip_adapter.clip_model.")
    encoded = encode(clip, vocabulary(clip, "aeroplane", "pottedplant"), "sculpture")
    torch.testing.assert_close(encoded, torch.from_numpy(stored["text_query"][[0, 15]]), atol=1e-5, rtol=1e-3)
