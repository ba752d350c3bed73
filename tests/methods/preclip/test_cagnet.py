"""CaGNet against the released code: features, codes, scores, all losses of a step, gradients, the step without images."""

import json
import re

import numpy as np
import pytest
import torch

from zsbench.dataset import IGNORE
from zsbench.methods.deeplab import DeepLabV2, caffe_pixels, maximum
from zsbench.methods.preclip import adversaries
from zsbench.methods.preclip.cagnet import CaGNet, cells
from zsbench.methods.preclip.contextual import Code, Context, ContextualNetwork, Encoded
from zsbench.methods.preclip.labels import shrunk
from zsbench.recipe import Recipe
from zsbench.runs.request import Request
from zsbench.runs.resolve import resolve

from .conftest import GOLDENS, assert_near, assert_same_labels, fastnvec, v2_name

CONTEXT = {
    "pyramid.steps.0": "contextual1.conv",
    "pyramid.steps.1": "contextual2.conv",
    "pyramid.steps.2": "contextual3.conv",
    "pyramid.weigh": "fc_1.conv",
    "pyramid.pool": "contextualpool.conv",
    "mean": "contextuallocalmu.conv",
    "log_variance": "contextuallocalsigma.conv",
}
DISCRIMINATOR = {"shared.0": "fc.conv", "real": "pred", "classes": "cls"}
SEEN = torch.arange(20) < 15


def back_name(name):
    """The released name of a tensor of our network, without the `back.` before it."""
    part, _, inside = name.partition(".")
    if part == "context":
        layer, _, leaf = inside.rpartition(".")
        return f"scale.{CONTEXT[layer]}.{leaf}"
    return v2_name(inside, "scale.", "scale.aspp.stages.")


def generator_name(name):
    number, leaf = re.fullmatch(r"mlp\.(\d+)\.(\w+)", name).groups()
    return f"mlp.{int(number) // 3}.{'conv.' if int(number) < 15 else ''}{leaf}"


def discriminator_name(name):
    layer, _, leaf = name.rpartition(".")
    return f"{DISCRIMINATOR[layer]}.{leaf}"


def build_network(rule, spatial=None, name=back_name):
    network = ContextualNetwork(DeepLabV2("resnet101", "frozen", "random", 600), Context(600), spatial)
    rule.fill_(network, lambda key: "back." + name(key))
    with torch.no_grad():
        for branch in network.backbone.head.branches:
            branch.weight.div_(0.005)  # that gain is SPNet's alone
        network.backbone.backbone.body.conv1.weight.div_(64)
    return network


def build_adversaries(rule, **options):
    generator, discriminator = adversaries.Generator(600), adversaries.Discriminator(600, 21)
    rule.fill_(generator, lambda key: "gen." + generator_name(key))
    rule.fill_(discriminator, lambda key: "dis." + discriminator_name(key))
    return adversaries.Adversaries(generator.eval(), discriminator.eval(), **options)


def pixels_of(rule, tag):
    return caffe_pixels(rule.image(112, 112, tag)[None] / 255)


def labels_of(rule, tags, choices, cell):
    labels = torch.stack([rule.blocks(112, 112, choices, tag, cell) for tag in tags])
    return torch.where(labels == 255, IGNORE, labels)


def voc_words(words):
    return fastnvec(words("spnet_voc12_21"))[1:]


@pytest.fixture
def gaussian(monkeypatch, rule):
    """`torch.randn` by rule, its calls counted under a tag."""

    def begin(tag):
        calls = iter(range(100))
        monkeypatch.setattr(
            torch, "randn", lambda shape, device=None: rule.noise("n", tuple(shape), f"{tag}-{next(calls)}")
        )

    return begin


def check_forward(network, stored, rule, which):
    network.eval()
    with torch.no_grad():
        encoded = network.scales(pixels_of(rule, f"{which}-test"))
        maps = network.backbone.backbone(pixels_of(rule, f"{which}-test"))[-1]
        first = encoded[0]
        discriminator = build_adversaries(rule).discriminator
        scores = discriminator(first.features)[1]
        best = maximum([each.features for each in encoded])
    labels = labels_of(rule, [f"{which}-test"], [*range(20), 255], 32)
    cells = shrunk(labels, (15, 15))
    near = np.abs(stored["layer5_c32"]).max() * 1e-5
    assert_near(maps[:, ::32], stored["layer5_c32"], near)
    assert_near(network.backbone.head(maps)[:, ::8].detach(), stored["aspp_c8"], 2e-5)
    assert_near(first.code[:, ::8], stored["context_code_c8"], 2e-5)
    assert_near(first.context.log_variance[:, ::8], stored["logvar_c8"], 2e-5)
    assert_near(first.features[:, ::8], stored["feature_c8"], 2e-5)
    assert_near(best[:, ::8], stored["feature_multiscale_max_c8"], 2e-5)
    assert_near(scores, stored["cls_scores"], 2e-5)
    assert_near(discriminator(best)[1].detach(), stored["cls_scores_multiscale"], 2e-5)
    assert_same_labels(scores.argmax(1), stored["pred"], 0)
    assert torch.equal(torch.where(cells < 0, 255, cells), torch.from_numpy(stored["gt_resized"]).long())
    assert first.context.divergence(cells >= 0).item() == pytest.approx(float(stored["kld"]), rel=1e-4)


def check_step(network, stored, told, rule, words, which, back, classify=adversaries.plain):
    """The losses and gradients of the first step, none of whose parts has been updated."""
    network.train()
    tags = [f"{which}-train-0", f"{which}-train-1"]
    labels = labels_of(rule, tags, [0, 2, 5, 9, 14, 255], 24)
    encoded = network.scales(torch.cat([pixels_of(rule, tag) for tag in tags]))
    parts = build_adversaries(rule, classify=classify)
    losses = adversaries.image_losses(encoded, labels, voc_words(words)[:15], parts)
    assert_near(encoded[0].features[:, ::8], stored["real_feature_c8"], 2e-5)
    assert_near(encoded[0].code[:, ::8], stored["context_code_c8"], 5e-5)
    expected = told["losses_0_step1"]
    for ours, theirs in TERMS.items():
        assert losses.terms[ours].item() == pytest.approx(expected[f"loss_{theirs}"], rel=1e-5), theirs
    norms = told["grad_norm_before_any_update"]
    for loss, letter, module, kind, renamed in (
        (losses.backbone, "B", network, "back", back),
        (losses.generator, "G", parts.generator, "gen", generator_name),
        (losses.discriminator, "D", parts.discriminator, "dis", discriminator_name),
    ):
        assert loss.item() == pytest.approx(expected[f"loss_{letter}"], rel=1e-5)
        names, parameters = zip(*module.named_parameters(), strict=True)
        for name, gradient in zip(names, torch.autograd.grad(loss, parameters, retain_graph=True), strict=True):
            assert gradient.double().norm().item() == pytest.approx(norms[kind][renamed(name)], rel=1e-4), (kind, name)


TERMS = {
    "real": "D_real",
    "fake": "D_fake",
    "class real": "D_cls_real",
    "divergence": "B_KLD",
    "fooled": "G_GAN",
    "discrepancy": "G_Content",
}


def test_forward(golden, rule):
    check_forward(build_network(rule), golden("cagnet_forward_voc20_112"), rule, "cagnet")


@pytest.mark.slow
@pytest.mark.usefixtures("double")
def test_step_with_images(golden, words, rule, gaussian):
    gaussian("cagnet-train-eps")
    told = json.loads((GOLDENS / "preclip" / "cagnet_step1_voc20_112.json").read_text())
    check_step(build_network(rule), golden("cagnet_step1_voc20_112"), told, rule, words, "cagnet", back_name)


@pytest.mark.slow
def test_step_without_images(golden, words, rule, gaussian):
    """The mixed phase: a step with images that leaves the backbone, then one on generated features alone."""
    stored = golden("cagnet_mixed_voc20_112")
    gaussian("cagnet-train-eps")
    network = build_network(rule)
    tags = [f"cagnet-train-{number}" for number in (0, 1)]
    labels = labels_of(rule, tags, [0, 2, 5, 9, 14, 255], 24)
    with torch.no_grad():
        encoded = network.scales(torch.cat([pixels_of(rule, tag) for tag in tags]))
    parts = build_adversaries(rule, weights=adversaries.Weights(real=0.75, fake=0.25))
    generator = torch.optim.Adam(parts.generator.parameters(), lr=5e-5)
    discriminator = torch.optim.Adam(parts.discriminator.parameters(), lr=5e-5, weight_decay=5e-4)
    losses = adversaries.image_losses(encoded, labels, voc_words(words)[:15], parts)
    move([(generator, losses.generator), (discriminator, losses.discriminator)])
    gaussian("cagnet-train-randn")
    drawn = torch.from_numpy(stored["step2_labels"]).long()
    loss = adversaries.transfer_loss(drawn, voc_words(words), parts)
    told = json.loads((GOLDENS / "preclip" / "cagnet_mixed_voc20_112.json").read_text())["losses_1_step2"]
    assert 0.125 * loss.item() == pytest.approx(told["loss_D"], rel=1e-3)
    move([(generator, 0 * loss), (discriminator, 0.125 * loss)])
    assert_near(parts.discriminator.classes.bias, stored["dis_cls_bias_after"], 2e-5)
    assert_near(parts.generator.mlp[-2].bias, stored["gen_last_bias_after"], 2e-5)
    assert_near(parts.generator.mlp[0].bias, stored["gen_first_bias_after"], 2e-5)


def move(losses):
    """All gradients before any step."""
    for optimiser, loss in losses:
        parameters = [p for group in optimiser.param_groups for p in group["params"]]
        for parameter, gradient in zip(
            parameters, torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True), strict=True
        ):
            parameter.grad = gradient
    for optimiser, _ in losses:
        optimiser.step()


def test_parts(golden, words, rule):
    """The discrepancy over runs, the discriminator and its losses, the generator."""
    stored = golden("cagnet_sign_parts")
    predicted = (0.3 * rule.noise("n", (2, 40, 8, 8), "cagnet-mmd-pred") + 0.5).requires_grad_()
    target = rule.noise("u", (2, 40, 8, 8), "cagnet-mmd-target")
    labels = torch.from_numpy(stored["mmd_label"]).long()
    labels = torch.where(labels == 255, IGNORE, labels)
    loss = adversaries.run_discrepancy(predicted, target, labels)
    loss.backward()
    assert_near(loss, stored["mmd_value"], 1e-5)
    assert_near(predicted.grad, stored["mmd_grad"], 1e-6)
    parts = build_adversaries(rule)
    feature = rule.noise("u", (2, 600, 8, 8), "cagnet-dis-feature")
    fake = rule.noise("u", (2, 600, 8, 8), "cagnet-dis-fake").square()
    with torch.no_grad():
        is_real, classes = parts.discriminator(feature)
        is_fake, _ = parts.discriminator(fake)
        codes = rule.noise("n", (20, 600), "cagnet-gen-noise")[..., None, None]
        made = parts.generator(voc_words(words)[..., None, None], codes)[..., 0, 0]
    assert_near(is_real, stored["dis_gan"], 1e-6)
    assert_near(classes, stored["dis_cls"], 1e-5)
    assert_near(made, stored["gen_out"], 1e-6)
    _, real, false = stored["lsgan_D_real_fake"]
    assert adversaries.real_loss(is_real, True, labels).item() == pytest.approx(float(real), rel=1e-5)
    assert adversaries.real_loss(is_fake, False, labels).item() == pytest.approx(float(false), rel=1e-5)
    assert adversaries.real_loss(is_fake, True, labels).item() == pytest.approx(float(stored["lsgan_G"]), rel=1e-5)


def test_parameters_are_the_released_ones():
    network = ContextualNetwork(DeepLabV2("resnet101", "batch", "random", 600), Context(600))
    count = lambda module: sum(p.numel() for p in module.parameters())  # noqa: E731
    assert count(network) == 96_262_944
    assert count(network.context) == 9_502_848 + 20_736
    assert count(adversaries.Generator(600)) == 4_720_088
    assert count(adversaries.Discriminator(600, 21)) == 637_974


def test_drawn_labels():
    torch.manual_seed(0)
    labels = adversaries.drawn_labels(SEEN, 9.0, (4, 64, 64))
    assert labels.shape == (4, 64, 64)
    assert (labels >= 15).float().mean().item() == pytest.approx(50 / 65, abs=0.02)  # facts: 76.9 %


@pytest.mark.parametrize(("side", "count"), [(112, 15), (368, 47), (513, 65), (500, 63), (375, 48)])
def test_cells(side, count):
    assert cells(side) == count


def test_the_backbone_descends_half_of_the_cross_entropy_whatever_its_weight_is_for_the_classifier():
    generator, discriminator = adversaries.Generator(4, [8, 8]), adversaries.Discriminator(4, 4, 8)
    torch.manual_seed(0)
    maps = torch.rand(1, 4, 3, 3)
    code = Code(torch.zeros_like(maps), torch.zeros_like(maps))  # diverges by nothing
    encoded, labels = [Encoded(maps, torch.zeros_like(maps), code)], torch.tensor([[[0, 1, 2]] * 3])
    for real in (1.0, 0.75):
        parts = adversaries.Adversaries(generator.eval(), discriminator.eval(), adversaries.Weights(real, 0.25, 0.0))
        found = adversaries.image_losses(encoded, labels, torch.eye(3, 4), parts)
        assert found.backbone.item() == pytest.approx(0.5 * found.terms["class real"].item() / real)
        assert found.terms["fooled"] == 0


def test_rates_fall_by_phase_and_part():
    request = Request(method="cagnet", dataset="coco-stuff", setting="transductive")
    with torch.device("meta"):
        method = CaGNet(None, resolve(request).options(None))
    recipe = Recipe(iterations=56_000, self_training_from=46_000 / 56_000)
    phases = {phase.name: phase for phase in method.phases("transductive", recipe, method.options)}

    def rate(phase, part, step):
        return method.learning_rate(phases[phase], part, step, 1.0)

    assert rate("train", "discriminator", 15_000) == rate("train", "generator", 10_000) == pytest.approx(0.3)
    assert rate("train", "generator", 15_000) == pytest.approx(0.09)
    assert rate("self-train", "generator", 4_999) == 1 and rate("self-train", "generator", 6_000) == pytest.approx(0.09)
    assert (phases["self-train"].recipe.batch_size, phases["self-train"].recipe.iterations) == (4, 10_000)
