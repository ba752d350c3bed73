"""ZegCLIP as the harness sees it: scores, calibration, precision, what it leaves alone, what it refuses."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from zsbench.checkpoint import load_trainable_state_dict, trainable_state_dict
from zsbench.dataset import IGNORE
from zsbench.errors import UserError
from zsbench.methods.zegclip.method import ZegClip
from zsbench.methods.zegclip.options import ZegClipOptions
from zsbench.profiling import count_macs
from zsbench.recipe import Recipe


def train(method, steps=40, seed=0):
    """A few steps on four images of coloured quarters; returns the total loss of each."""
    torch.manual_seed(seed)
    labels = F.interpolate(torch.randint(0, 3, (4, 1, 2, 2)).float(), (32, 32)).long()[:, 0]
    images = torch.eye(3)[labels].permute(0, 3, 1, 2) * 0.8 + 0.1 * torch.rand(4, 3, 32, 32)
    optimiser = torch.optim.AdamW(method.train().parameter_groups(Recipe(learning_rate=3e-3)))
    history = []
    for _ in range(steps):
        loss = method(images, labels).total
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        history.append(loss.item())
    return history


@pytest.mark.parametrize(
    "options", [{}, {"nel": "off", "rd": "off", "dpt": "off"}, {"encoder": "finetuned", "dpt": "off"}]
)
def test_training_lowers_the_loss(small_method, options):
    history = train(small_method(**options))
    assert sum(history[-5:]) < 0.6 * sum(history[:5])


@pytest.mark.parametrize("options", [{}, {"encoder": "finetuned"}, {"position_size": 64}])
def test_clip_itself_is_left_alone(small_method, options):
    """Training changes no tensor of the CLIP that was given, and needs no gradient of it."""
    method = small_method(**options)
    model = method.clip.model
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    train(method, steps=2)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_frozen_encoder_is_shared(small_method):
    """A frozen CLIP costs no memory twice."""
    method = small_method()
    assert method.encoder.conv1 is method.clip.model.visual.conv1


def test_scores_are_calibrated_sigmoids(small_method):
    method = small_method()
    logits = torch.randn(2, 5, 4, 4)
    expected = logits.sigmoid() - 0.1 * method.vocabulary.seen[:, None, None].float()
    torch.testing.assert_close(method.score(logits, slice(None)), expected)
    torch.testing.assert_close(method.score(logits[:, 2:4], slice(2, 4)), expected[:, 2:4])


@pytest.mark.parametrize(
    ("options", "knows", "expected"),
    [
        ({}, False, 0.1),
        ({}, True, 0.0),
        ({"nel": "bce"}, False, 0.1),
        ({"nel": "off"}, False, 0.0),
        ({"calibration": 0.3}, True, 0.3),
        ({"calibration": 0.0}, False, 0.0),
        ({"nel": "off", "calibration": 0.2}, False, 0.2),
    ],
)
def test_calibration(small_method, options, knows, expected):
    method = small_method(**options)
    method.knows_unseen.fill_(knows)
    assert float(method.calibration) == pytest.approx(expected)
    logits = torch.zeros(1, 5, 1, 1)
    gap = method.score(logits, slice(None))[0, :, 0, 0]
    assert float(gap[4] - gap[0]) == pytest.approx(expected)


def test_softmax_scores_are_the_logits(small_method):
    logits = torch.randn(1, 5, 3, 3)
    assert torch.equal(small_method(nel="off").score(logits, slice(None)), logits)


def test_training_with_unseen_classes_ends_calibration(small_method, subset):
    """Known from the vocabulary that training starts with, kept in the checkpoint; a mere loss does not count."""
    method = small_method()
    whole = method.vocabulary
    method.losses(torch.rand(1, 3, 32, 32), torch.randint(0, 5, (1, 32, 32)))
    assert not method.knows_unseen
    method.set_vocabulary(subset(whole, whole.seen))
    method.begin_phase(None, None)
    assert not method.knows_unseen
    method.set_vocabulary(whole)
    method.begin_phase(None, None)
    assert method.knows_unseen
    other = small_method(seed=1)
    load_trainable_state_dict(
        other, {name: tensor.clone() for name, tensor in trainable_state_dict(method).items()}, "test"
    )
    assert other.knows_unseen


def test_vocabulary_decides_the_classes(small_method, subset):
    """Each class's mask depends on its own text alone: no class sees another."""
    method = small_method().eval()
    whole, images = method.vocabulary, torch.rand(1, 3, 32, 32)
    with torch.inference_mode():
        masks = method.predict(images)
        method.set_vocabulary(subset(whole, torch.tensor([False, True, False, True, True])))
        torch.testing.assert_close(method.predict(images), masks[:, [1, 3, 4]])


def test_batches_and_modes(small_method):
    """Images do not see each other, and evaluation has no chance in it."""
    method = small_method().eval()
    images = torch.rand(3, 3, 32, 48)
    with torch.inference_mode():
        together = method.predict(images)
        assert together.shape == (3, 5, 4, 6)
        assert torch.equal(together, method.predict(images))
        torch.testing.assert_close(together, torch.cat([method.predict(image[None]) for image in images]))
    method.train()
    assert not torch.equal(method.predict(images), method.predict(images))


@pytest.mark.parametrize("options", [{}, {"nel": "off"}, {"encoder": "finetuned", "dpt": "shallow"}])
def test_autocast(small_method, options):
    """In bfloat16 the masks stay close, and losses and gradients finite."""
    method = small_method(**options)
    images, labels = torch.rand(2, 3, 32, 32), torch.randint(IGNORE, 3, (2, 32, 32))
    with torch.inference_mode():
        exact = method.eval().predict(images)
        with torch.autocast("cpu", torch.bfloat16):
            close = method.predict(images)
    torch.testing.assert_close(close.float(), exact, rtol=0.1, atol=0.05 * float(exact.abs().max()))
    with torch.autocast("cpu", torch.bfloat16):
        losses = method.train().losses(images, labels)
    assert all(loss.dtype == torch.float32 for loss in losses.values.values())
    losses.total.backward()
    assert all(p.grad.isfinite().all() for p in method.parameters() if p.grad is not None)


def test_idle_parameters_change_nothing(small_method):
    """The same seed gives the same masks with the released model's idle parameters, and they get no gradient."""
    lean, full = small_method(), small_method(idle_parameters=True)
    full.set_vocabulary(lean.vocabulary)
    images, labels = torch.rand(2, 3, 32, 32), torch.randint(IGNORE, 3, (2, 32, 32))
    with torch.inference_mode():
        assert torch.equal(lean.eval().predict(images), full.eval().predict(images))
    full.losses(images, labels).total.backward()
    idle = {name for name, p in full.named_parameters() if p.requires_grad and p.grad is None}
    own = {name for name, p in lean.named_parameters() if p.requires_grad}
    assert idle == {name for name, p in full.named_parameters() if p.requires_grad} - own


def test_decoder_layers_start_equal(small_method):
    first, second, _ = small_method().decoder.layers
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_finetuned_encoder_has_its_own_rate(small_method):
    method = small_method(encoder="finetuned", encoder_rate=0.25)
    own, clip = method.parameter_groups(Recipe(learning_rate=1e-3, weight_decay=0.02))
    assert (own["lr"], clip["lr"]) == (1e-3, 2.5e-4)
    assert own["weight_decay"] == clip["weight_decay"] == 0.02
    every = {id(p) for p in method.parameters()}
    assert {id(p) for p in own["params"]} | {id(p) for p in clip["params"]} == every
    assert {id(p) for p in own["params"]}.isdisjoint(id(p) for p in clip["params"])


def test_released_recipe_is_one_group(small_method):
    """Everything learnable at the same rate, norms and biases decayed like the rest (optimiser of the release)."""
    method = small_method()
    (group,) = method.parameter_groups(Recipe())
    assert (group["lr"], group["weight_decay"]) == (2e-4, 0.01)
    assert {id(p) for p in group["params"]} == {id(p) for p in method.parameters() if p.requires_grad}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 5}, "heads=5"),
        ({"prompt_depth": 4}, "3 blocks"),
        ({"prompt_depth": -4}, "3 blocks"),
        ({"prompt_depth": 0}, "3 blocks"),
    ],
)
def test_options_that_do_not_fit_the_clip(small_method, options, message):
    with pytest.raises(UserError, match=message):
        small_method(**options)


def test_another_kind_of_image_encoder(small_clip):
    clip = SimpleNamespace(name="RN50", model=SimpleNamespace(visual=torch.nn.Conv2d(3, 3, 1)), patch_size=8, dim=32)
    with pytest.raises(UserError, match="vision transformer; RN50 has a Conv2d"):
        ZegClip(clip, ZegClipOptions())


@pytest.fixture
def counted(meta_clip):
    """Builds the paper's model for a dataset on the meta device."""

    def build(dataset, classes, **options):
        with torch.device("meta"):
            method = ZegClip(meta_clip, ZegClipOptions(**{**ZegClipOptions.presets[dataset].options, **options}))
            method.set_vocabulary(SimpleNamespace(embeddings=torch.empty(classes, 512)))
        return method.eval()

    return build


def learnable(method):
    return sum(parameter.numel() for parameter in method.parameters() if parameter.requires_grad)


@pytest.mark.parametrize(
    ("dataset", "classes", "params"), [("pascal-voc", 20, 13_821_184), ("coco-stuff", 171, 14_650_624)]
)
def test_learnable_parameters(counted, dataset, classes, params):
    """Table 3: 13.8 M and 14.6 M, of which 5,782,016 have no effect and are not built in the lean module."""
    assert learnable(counted(dataset, classes)) == params
    assert learnable(counted(dataset, classes, idle_parameters=False)) == params - 5_782_016


@pytest.mark.parametrize(("dataset", "classes", "gmacs"), [("pascal-voc", 20, 110.4018), ("coco-stuff", 171, 123.9356)])
def test_multiply_adds(counted, dataset, classes, gmacs):
    """Table 3: 110.4 and 123.9 G at 512 x 512; the paper's tool also counts norms and resizing (0.14 % and 0.38 %)."""
    method = counted(dataset, classes)
    with torch.device("meta"):
        images = torch.empty(1, 3, 512, 512)
    assert count_macs(lambda: method.predict(images)) == pytest.approx(gmacs, rel=5e-3)
