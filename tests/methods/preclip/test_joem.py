"""JoEm against the released code, in both forms: features, prototypes, distances, calibrated labels, losses, one step."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from zsbench.dataset import IGNORE
from zsbench.methods.deeplab import DeepLabV2, DeepLabV3Plus, aligned, imagenet_pixels
from zsbench.methods.preclip.joem import apollonius, boundary_loss, relation_loss, squared_distances
from zsbench.methods.preclip.labels import cross_entropy, shrunk

from .conftest import GOLDENS, assert_near, assert_same_labels, distance, noise_state, v2_name, v3_name

FORMS = {
    "sp": {"classes": 21, "words": 600, "dim": 600, "ratio": 0.5, "tau": 5, "alpha": 1.0, "side": 161, "decay": 1e-4},
    "zs3": {"classes": 21, "words": 300, "dim": 256, "ratio": 0.25, "tau": 5, "alpha": 0.1, "side": 156, "decay": 1e-4},
    "context": {
        "classes": 60, "words": 300, "dim": 256, "ratio": 0.25, "tau": 7, "alpha": 0.01, "side": 156, "decay": 5e-4
    },
}  # fmt: skip
UNSEEN = {"zs3": (10, 14), "context": (2, 3, 4, 8, 10, 14, 18, 20, 32, 38)}


def sp_name(name):
    return v2_name(name, "backbone.", "aspp.").replace(".proj.", ".shortcut.")


def vectors_of(form, words):
    if form == "sp":
        stored = words("joem_voc_sp_21")
        halves = [stored[name] / np.linalg.norm(stored[name], axis=1).max() for name in ("word2vec", "fasttext")]
        return torch.from_numpy(np.concatenate(halves, 1)).to(torch.get_default_dtype())
    if form == "zs3":
        return torch.from_numpy(words("zs3_voc_21")["word2vec_airplane"]).to(torch.get_default_dtype())
    raw = words("zs3_context_60")["word2vec"]
    return torch.from_numpy(raw / np.linalg.norm(raw, axis=1).max()).to(torch.get_default_dtype())


def semantic_encoder(rule, words, dim):
    encoder = nn.Linear(words, dim)
    rule.fill_(encoder, lambda name: f"model.{name}")
    return encoder


@pytest.fixture(scope="module")
def build(rule, words):
    """The visual network, the auxiliary classifier, the semantic encoder and the word vectors of a form."""
    kept = {}

    def build_(form):
        kind = form, torch.get_default_dtype()
        if kind not in kept:
            kept.clear()
            setup = FORMS[form]
            if form == "sp":
                visual = DeepLabV2("resnet101", "statistics", "random", 600)
                rule.fill_(visual, sp_name)
            else:
                visual = DeepLabV3Plus("resnet101", "statistics", "random")
                rule.fill_(visual, lambda name: v3_name(name, zs3=False))
            classifier = nn.Conv2d(setup["dim"], setup["classes"], 1)
            prefix = "pred_conv." if form == "sp" else "decoder.pred_conv."
            rule.fill_(classifier, lambda name: prefix + name)
            kept[kind] = SimpleNamespace(
                visual=visual,
                classifier=classifier,
                semantic=semantic_encoder(rule, setup["words"], setup["dim"]),
                vectors=vectors_of(form, words),
                **setup,
            )
        return kept[kind]

    return build_


def features_of(form, parts, pixels):
    features = parts.visual(pixels)
    return features.relu() if form == "sp" else features


def near(ours, stored, relative=1e-5):
    assert_near(ours, stored, relative * float(np.abs(stored).max()))


def test_apollonius(golden, words, rule):
    """Only the two nearest classes compete."""
    stored = golden("joem_ac")
    prototypes = semantic_encoder(rule, 600, 600)(vectors_of("sp", words)).detach()
    near(prototypes, stored["prototypes"])
    rs = noise_state("joem-ac")
    first, second = (torch.from_numpy(rs.randint(0, 20, (8, 12))) for _ in range(2))
    share, spread = rs.uniform(0, 0.5, (8, 12)), 0.15 * rs.standard_normal((600, 8, 12))
    points = prototypes.numpy().astype(np.float64)
    mixed = (1 - share[..., None]) * points[1 + first] + share[..., None] * points[1 + second]
    features = torch.from_numpy(np.moveaxis(mixed, -1, 0) + spread).float()[None]
    assert_near(features[0, ::40], stored["feature_c40"], 1e-6)
    distances = squared_distances(features, prototypes[1:], (64, 96))
    near(distances[0, :, ::4, ::4], stored["cdist2_s4"])
    unseen = torch.arange(20) >= 15
    for sigma in (1.0, 0.9, 0.8, 0.7, 0.5):
        labels = apollonius(distances, unseen, sigma).argmax(1)[0] + 1
        assert_same_labels(labels, stored[f"pred_sigma{sigma}"], 0)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_evaluation(build, golden, rule, form):
    stored, parts = golden(f"joem_{form}_eval"), build(form)
    parts.visual.eval()
    with torch.no_grad():
        pixels = imagenet_pixels(rule.image(241, 321, f"joem-{form}")[None] / 255)
        features = features_of(form, parts, pixels)
        logits = parts.classifier(features)
        prototypes = parts.semantic(parts.vectors)
        if form == "sp":
            near(features[0, ::15], stored["feature_c15_s1"])
            near(logits[0, :, ::2, ::2], stored["logit_s2"])
        else:
            near(features[0, ::6, ::2, ::2], stored["feature_c6_s2"])
            near(aligned(logits, (241, 321))[0, :, ::16, ::16], stored["logit_s16"])
        near(prototypes, stored["prototypes"])
        evaluated = torch.from_numpy(stored["class_idx"])
        distances = squared_distances(features, prototypes[evaluated], (241, 321))
        near(distances[0, :, ::16, ::16], stored["cdist2_s16"])
        unseen = torch.isin(evaluated, torch.from_numpy(stored["unseen"]))
        for name in (key for key in stored if key.startswith("pred_sigma")):
            labels = evaluated[apollonius(distances, unseen, float(name.removeprefix("pred_sigma"))).argmax(1)[0]]
            assert_same_labels(labels[::2, ::2], stored[name])


def training_labels(rule, form, parts):
    labels = rule.labels(f"joem-{form}", 2, parts.side, 6, parts.classes)
    if form == "sp":
        labels[(labels == 0) | ((labels >= 16) & (labels < 255))] = IGNORE
    else:
        labels[torch.isin(labels, torch.tensor(UNSEEN[form]))] = 1
    labels[labels == 255] = IGNORE
    return labels


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_training_step(build, golden, rule, form, precision):
    """In single precision, and in double, where gradients differ from the reference by as much as the released code's do.

    Units on the edge of a ReLU fall on either side of it by rounding: the largest difference is that of single channels.
    """
    stored, parts = golden(f"joem_{form}_train"), build(form)
    parts.visual.train()
    for module in parts.visual.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    labels = training_labels(rule, form, parts)
    pixels = [imagenet_pixels(rule.image(parts.side, parts.side, f"joem-{form}-train-{n}")[None] / 255) for n in (0, 1)]
    features = features_of(form, parts, torch.cat(pixels))
    size = features.shape[-2:]
    cells = tuple(int(side * parts.ratio) for side in size)
    void = 0 if form == "sp" else parts.classes  # the row of the zero vector
    for name, shown, none in (
        ("target_s4", labels[:, ::4, ::4], 255),
        ("target_downscale", shrunk(labels, cells), void),
        ("target_resize", shrunk(labels, size), 255),
    ):
        assert torch.equal(torch.where(shown == IGNORE, none, shown), torch.from_numpy(stored[name]).long()), name
    near(features[:, ::40, ::8, ::8], stored["feature_c40_s8"], 1e-4)
    shown = [int(label) for label in seen_classes(form)]
    words = parts.vectors[shown]
    losses = {
        "bar": boundary_loss(features, labels, parts.vectors, parts.semantic, parts.ratio),
        "ce": cross_entropy(aligned(parts.classifier(features), labels.shape[-2:]), labels),
        "sc": relation_loss(words, parts.semantic(words), parts.tau, "squared" if form == "context" else "mean"),
    }
    for name, loss in losses.items():
        assert loss.item() == pytest.approx(float(stored[f"loss_{name}"]), rel=1e-5), name
    total = losses["bar"] + losses["ce"] + parts.alpha * losses["sc"]
    assert total.item() == pytest.approx(float(stored["loss"]), rel=1e-5)
    for part in (parts.visual, parts.classifier, parts.semantic):
        part.zero_grad()
    total.backward()
    check_gradients(stored, form, parts)
    check_step(stored, form, parts)
    for key in (k for k in stored if k.startswith("buffer/")):
        near(parts.visual.get_buffer(key.removeprefix("buffer/")), stored[key], 1e-4)


def seen_classes(form):
    return {
        "sp": range(1, 16),
        "zs3": [c for c in range(1, 21) if c not in UNSEEN["zs3"]],
        "context": [c for c in range(1, 60) if c not in UNSEEN["context"]],
    }[form]


def released_names(form, parts):
    """Parameters of the visual side by their released names."""
    rename = sp_name if form == "sp" else (lambda n: v3_name(n, zs3=False))
    prefix = "pred_conv." if form == "sp" else "decoder.pred_conv."
    return {rename(n): p for n, p in parts.visual.named_parameters()} | {
        prefix + n: p for n, p in parts.classifier.named_parameters()
    }


ROUNDING = {"sp": 1e-3, "zs3": 2e-3, "context": 5e-4}
"""How far norms of gradients of the released code in double precision are from the reference: 8.8e-4, 1.7e-3, 3.5e-4."""


def check_gradients(stored, form, parts):
    norms = json.loads((GOLDENS / "preclip" / "train.json").read_text())[f"joem_{form}_train"]["grad_norms"]
    named = released_names(form, parts)
    for name, parameter in named.items():
        expected = pytest.approx(norms[f"ve.{name}"], rel=ROUNDING[form])
        assert parameter.grad.double().norm().item() == expected, name
    for key in (k for k in stored if k.startswith("grad/")):
        assert distance(thinned(named[key.removeprefix("grad/")].grad), stored[key]) <= 5e-3, key


def thinned(array):
    """As the reference keeps it: every eighth row and column of the large ones."""
    return array[tuple(slice(None, None, 8) if side >= 64 else slice(None) for side in array.shape[:2])]


def check_step(stored, form, parts):
    """The changes of weights by one step of SGD on the reference's gradients, and of Adam for the semantic encoder."""
    named, semantic = released_names(form, parts), parts.semantic.weight.detach().clone()
    torch.optim.Adam(parts.semantic.parameters(), lr=2e-4).step()
    for key in (k for k in stored if k.startswith("step/")):
        name = key.removeprefix("step/")
        weight = thinned(named[name]).detach().clone()
        before = weight.clone()
        weight.grad = torch.from_numpy(stored[f"grad/{name}"]).to(weight)
        rate = 2.5e-4 if name.startswith("backbone.") else 2.5e-3
        torch.optim.SGD([weight], lr=rate, momentum=0.9, weight_decay=parts.decay).step()
        rounding = np.spacing(np.float32(before.abs().max()))  # of the weights, from which the change is a difference
        assert_near(weight - before, stored[key], 2 * rounding)
    change = (parts.semantic.weight - semantic).detach()[::16, ::16]
    assert_near(change, stored["se_step_weight_s16"], 2e-6)
