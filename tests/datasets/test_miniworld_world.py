"""The miniature world: its scenes, its captions, and what its CLIP knows of it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from zsbench.clip.model import Clip, load_clip
from zsbench.clip.templates import SINGLE, VILD15
from zsbench.datasets.miniworld import captions, pretrain
from zsbench.datasets.miniworld.objective import Objective, contrast, encode_texts, encode_tokens
from zsbench.datasets.miniworld.pool import open_pool
from zsbench.datasets.miniworld.probe import Probe, average_precision
from zsbench.datasets.miniworld.scene import Scene, scene
from zsbench.datasets.miniworld.things import COLOURS, ICONS
from zsbench.datasets.miniworld.world import CLASSES, PALETTE, SIZE, SPLITS, STUFF, THINGS, UNSEEN
from zsbench.errors import UserError
from zsbench.registry import load_dataset_class

WEIGHTS = pretrain.CONFIG.with_name("clip.safetensors")
CROWDED = [scene("scenes-val", index) for index in range(120)]


@pytest.fixture(scope="module")
def clip() -> Clip:
    return load_clip(str(pretrain.CONFIG), str(WEIGHTS))


def test_classes_have_names_and_colours_of_their_own() -> None:
    assert (len(THINGS), len(STUFF), len(CLASSES)) == (48, 12, 60)
    assert len(set(CLASSES)) == len(set(PALETTE)) == 60
    assert len(UNSEEN) == 10 and set(UNSEEN) <= set(CLASSES)
    assert len(set(UNSEEN) & set(THINGS)) == 8


@pytest.mark.parametrize("split", SPLITS)
def test_a_scene_is_a_function_of_split_and_index(split: str) -> None:
    first, other, again = scene(split, 7), scene(split, 8), scene(split, 7)
    assert np.array_equal(first.image, again.image) and np.array_equal(first.label, again.label)
    assert (first.things, first.stuffs) == (again.things, again.stuffs)
    assert not np.array_equal(first.image, other.image)


def test_a_scene_is_the_same_in_another_process() -> None:
    code = "from zsbench.datasets.miniworld.scene import scene; print(scene('train', 3).image.sum())"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert int(told) == scene("train", 3).image.sum()


def test_images_and_labels_are_what_they_say() -> None:
    for drawn in CROWDED:
        assert drawn.image.shape == (SIZE, SIZE, 3) and drawn.label.shape == (SIZE, SIZE)
        assert drawn.image.dtype == drawn.label.dtype == np.uint8
        assert drawn.label.max() < len(CLASSES)
        assert drawn.image.std() > 5, "a picture, not a plain sheet"


def test_every_class_appears_in_the_splits_that_are_measured() -> None:
    seen = np.unique(np.concatenate([np.unique(drawn.label) for drawn in CROWDED]))
    assert len(seen) == len(CLASSES)
    assert [scene("single", index).things[0].name for index in range(len(THINGS))] == list(THINGS)


def test_what_is_told_is_what_the_label_shows() -> None:
    for drawn in CROWDED:
        pixels = np.bincount(drawn.label.ravel(), minlength=len(CLASSES))
        shown = {name for name, count in zip(CLASSES, pixels, strict=True) if count >= 40}
        assert shown == {*(thing.name for thing in drawn.things), *drawn.stuffs}


def test_splits_share_no_scene() -> None:
    assert len({rules.number for rules in SPLITS.values()}) == len(SPLITS)
    images = {scene(split, index).image.tobytes() for split in SPLITS for index in range(20)}
    assert len(images) == 20 * len(SPLITS)


def test_an_index_outside_a_split_is_refused() -> None:
    with pytest.raises(IndexError, match="val has scenes 0 to 799"):
        scene("val", 800)
    with pytest.raises(IndexError):
        scene("val", -1)


def test_icons_fit() -> None:
    """Icons fill their space, and none is cut off by the window that it is drawn in."""
    axis = np.linspace(-1.5, 1.5, 301, dtype=np.float32)
    u, v = np.meshgrid(axis, axis)
    for name, icon in ICONS.items():
        area = np.mean(np.min([part.shape(u, v) for part in icon], 0) < 0) * 9
        assert 0.25 < area < 3.2, name
        reach = np.hypot(u, v)[np.min([part.shape(u, v) for part in icon], 0) < 0].max()
        assert reach < 1.4, name


def names_of(text: str) -> set[str]:
    """The classes that a caption names, by a plain reading of it."""
    padded = f" {text.replace('.', ' ').replace(' ', '  ')} "
    return {name for name in CLASSES if f" {name.replace(' ', '  ')} " in padded}


def test_captions_name_only_what_is_visible() -> None:
    rng = np.random.default_rng(0)
    told: set[str] = set()
    for drawn in CROWDED:
        visible = {*(thing.name for thing in drawn.things), *drawn.stuffs}
        colours = {thing.colour for thing in drawn.things}
        for _ in range(5):
            text = captions.caption(rng, drawn)
            assert names_of(text) <= visible, text
            assert {word for word in text.rstrip(".").split() if word in COLOURS} <= colours, text
            told |= names_of(text)
    assert told == set(CLASSES)


def test_captions_use_known_words_alone(clip: Clip) -> None:
    rng = np.random.default_rng(1)
    texts = [captions.caption(rng, drawn) for drawn in CROWDED]
    tokens = clip.tokenizer(texts)
    unknown, end = 2, clip.config["text_cfg"]["vocab_size"] - 1
    assert not (tokens == unknown).any()
    assert (tokens.max(1).values == end).all(), "each ends before it is cut"
    assert tuple(clip.config["words"]) == captions.WORDS


@pytest.mark.parametrize("template", [*SINGLE, *VILD15, *captions.NAME_FRAMES, *captions.FRAMES])
def test_usual_prompts_have_known_words_alone(clip: Clip, template: str) -> None:
    assert not (clip.tokenizer([template.format(name) for name in CLASSES]) == 2).any()


def test_weights_are_small_and_fill_the_model(clip: Clip) -> None:
    assert WEIGHTS.stat().st_size <= 5_000_000
    assert not clip.weights.unexpected and not clip.weights.random
    assert all(bool(parameter.isfinite().all()) for parameter in clip.model.parameters())


def test_images_and_texts_share_a_narrow_space(clip: Clip) -> None:
    """What is learnt of seen words reaches unseen ones where directions are fewer than words."""
    projections = torch.cat([clip.model.visual.proj, clip.model.text_projection])
    strengths = torch.linalg.svdvals(projections.detach().float())
    assert (strengths > 0.01 * strengths[0]).sum() <= pretrain.DIRECTIONS < len(CLASSES) - len(UNSEEN)


def test_a_step_leaves_the_projections_in_their_directions() -> None:
    state = pretrain.build(json.loads(pretrain.CONFIG.read_text()), seed=3)
    with torch.no_grad():
        state.model.visual.proj += torch.randn_like(state.model.visual.proj)
    assert torch.linalg.matrix_rank(state.model.visual.proj) > pretrain.DIRECTIONS
    pretrain.narrow(state.model, state.directions)
    for projection in (state.model.visual.proj, state.model.text_projection):
        assert torch.linalg.matrix_rank(projection, rtol=1e-4) <= pretrain.DIRECTIONS


@pytest.mark.parametrize(("name", "things", "stuffs"), [("miniworld", (1, 2), 1), ("miniworld-scenes", (2, 5), 2)])
def test_the_two_data_sets_share_all_but_their_scenes(name: str, things: tuple[int, int], stuffs: int) -> None:
    dataset = load_dataset_class(name)()
    assert dataset.classes == CLASSES and dataset.unseen == UNSEEN and dataset.defaults.clip == str(pretrain.CONFIG)
    rules = [SPLITS[dataset.splits[split]] for split in ("train", "val")]
    assert {(each.things, each.stuffs) for each in rules} == {(things, stuffs)} and rules[0].number != rules[1].number
    sample = dataset.read("val", dataset.ids("val")[3])
    assert np.array_equal(sample.image, scene(dataset.splits["val"], 3).image)
    with pytest.raises(UserError, match=r"has no split 'vall'.* Did you mean 'val'"):
        dataset.ids("vall")


def test_the_clip_recognises_single_things(clip: Clip) -> None:
    scores = Probe(240, 0, clip.mean, clip.std).measure(clip.model, clip.tokenizer)
    assert scores["things"] >= 93
    assert scores["stuff"] >= 93


def test_the_encoders_of_training_are_those_of_the_model(clip: Clip) -> None:
    tokens = clip.tokenizer(["a red car on grass.", "a photo of an ice cream"])
    images = torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(encode_texts(clip.model, tokens), clip.model.encode_text(tokens, normalize=True))
        image = clip.model.encode_image(images, normalize=True)
        torch.testing.assert_close(encode_tokens(clip.model, images)[:, 0], image, atol=1e-5, rtol=1e-4)


def test_equal_captions_are_no_negatives() -> None:
    image = torch.nn.functional.normalize(torch.randn(3, 8, generator=torch.Generator().manual_seed(0)), dim=-1)
    text = image[[0, 0, 2]]
    tokens = torch.tensor([[1, 5], [1, 5], [1, 6]])
    logits = 10 * image @ text.T
    logits[0, 1] = logits[1, 0] = -torch.inf
    probability = torch.stack([logits.softmax(1).diag(), logits.softmax(0).diag()])
    torch.testing.assert_close(contrast(image, text, tokens, torch.tensor(10.0)), -probability.log().mean())


def test_the_patch_loss_rewards_a_single_fitting_patch() -> None:
    objective, texts = Objective(), torch.eye(4)
    present = torch.tensor([[1.0, 0, 0, 0]])
    without = torch.zeros(1, 6, 4)
    with_it = without.clone()
    with_it[0, 3, 0] = 1
    assert objective.patches(with_it, texts, present) < objective.patches(without, texts, present)


def test_average_precision_of_a_known_order() -> None:
    scores = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.1, 0.3]])
    present = torch.tensor([[1.0, 0], [0, 0], [1, 0]])
    result = average_precision(scores, present)
    assert result[0] == pytest.approx((1 + 2 / 3) / 2)
    assert result[1].isnan()


def test_a_pool_holds_the_scenes_of_its_split(tmp_path: Path) -> None:
    pool = open_pool(tmp_path, "val", 1)
    assert len(pool) == SPLITS["val"].size
    for index in (0, 799):
        drawn = scene("val", index)
        assert np.array_equal(pool.images[index], drawn.image)
        assert pool.scenes[index] == (drawn.things, drawn.stuffs)
    kept = pool.scene(5)
    assert isinstance(kept, Scene) and kept.label.size == 0, "pre-training cannot see labels"


def test_stages_cover_all_steps() -> None:
    total = sum(stage.steps for stage in pretrain.STAGES)
    rates = [pretrain.locate(step)[1] for step in range(total)]
    assert min(rates) > 0 and max(rates) < 1e-2
    assert pretrain.locate(0)[0] is pretrain.STAGES[0] and pretrain.locate(total - 1)[0] is pretrain.STAGES[-1]
    with pytest.raises(ValueError, match="last stage"):
        pretrain.locate(total)
