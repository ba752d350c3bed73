"""Whatever is wrong with an option is found before anything runs, and the message says what would be right."""

import pytest

from zsbench.errors import UserError
from zsbench.methods.two_stage.backbone import Backbone
from zsbench.methods.two_stage.maskformer import MaskFormer
from zsbench.methods.two_stage.options import ClipRegionOptions, ZegFormerOptions, ZssegOptions
from zsbench.methods.two_stage.templates import SETS
from zsbench.runs.plan import make_plan
from zsbench.runs.request import Request
from zsbench.runs.resolve import resolve
from zsbench.utils.files import write_text


@pytest.mark.parametrize(
    ("method", "option"),
    [
        ("zegformer", "query_templates"),
        ("zegformer", "test_query_templates"),
        ("zsseg", "region_templates"),
        ("clip-regions", "templates"),
    ],
)
def test_unknown_templates_are_refused_with_the_sets_there_are(tmp_path, method, option):
    request = Request(method=method, dataset="miniworld", options={option: "region32"}, out=tmp_path / "run")
    with pytest.raises(UserError) as refused:
        make_plan("run", request)
    message = str(refused.value)
    assert option in message and "Did you mean 'regions32'?" in message
    assert all(name in message for name in (*SETS, "dataset"))
    assert ("learned" in message) == (method != "zegformer")
    assert not (tmp_path / "run").exists()


def test_sets_templates_files_and_words_are_taken(tmp_path):
    file = tmp_path / "templates.txt"
    file.write_text("a {}\nthe {}\n")
    for templates in ("imagenet80", "vild14", "dataset", "a drawing of a {}", str(file)):
        assert ZegFormerOptions(query_templates=templates).query_templates == templates
    assert ZssegOptions(query_templates="learned").learned
    file.write_text("a\n")
    with pytest.raises(ValueError, match="exactly once"):
        ZegFormerOptions(query_templates=str(file))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"proposals": "detectron2"}, "detectron2_config=.*detectron2_weights="),
        ({"proposals": "file"}, "file="),
        ({"templates": "learned"}, "prompts="),
        ({"proposals": "file", "file": "absent.json"}, "does not point to a file"),
    ],
)
def test_paths_are_asked_for_and_have_to_be_there(options, message):
    with pytest.raises(ValueError, match=message):
        ClipRegionOptions(**options)


def test_prompts_that_nothing_uses_are_refused(tmp_path):
    (tmp_path / "prompts.pt").touch()
    with pytest.raises(ValueError, match="not used"):
        ZssegOptions(prompts=tmp_path / "prompts.pt")


def test_a_proposal_file_for_other_images_is_refused(tmp_path):
    path = tmp_path / "proposals.json"
    entry = '{"image_id": "%s", "segmentation": {"size": [1, 1], "counts": [0, 1]}}'
    write_text(path, "[" + entry % "cat.jpg" + "]")
    request = Request(
        method="clip-regions",
        dataset="miniworld",
        options={"proposals": "file", "file": str(path)},
        out=tmp_path / "run",
    )
    with pytest.raises(UserError, match=r"1 images that the dataset's split lacks, such as cat\.jpg"):
        make_plan("eval", request)
    assert not (tmp_path / "run").exists()
    write_text(path, "[" + entry % "val-0001" + "]")
    assert make_plan("eval", request).options.file == path


def resolved(method, dataset, **given):
    return resolve(Request(method=method, dataset=dataset, **given))


def test_zegformer_is_evaluated_as_its_configurations_are():
    """R-101 joins both opinions and takes 0.1 from seen classes; R-50 is CLIP alone on VOC; ADE-full is not calibrated."""
    large, small = (resolved("zegformer", "pascal-voc", variant=variant).options(None) for variant in (None, "r50"))
    assert (large.backbone, large.fusion, large.calibration) == ("resnet101", "ensemble", 0.1)
    assert (small.backbone, small.fusion, small.calibration) == ("resnet50", "clip", 0.0)
    stuff = [resolved("zegformer", "coco-stuff", variant=variant).options(None) for variant in (None, "r50")]
    assert [each.test_query_templates for each in stuff] == ["scene", None]
    assert {(each.query_templates, each.fusion, each.calibration) for each in stuff} == {
        ("imagenet-select", "ensemble", 0.1)
    }
    full = resolved("zegformer", "ade-full")
    asked, recipe = full.options(None), full.recipe()
    assert (asked.backbone, asked.query_templates, asked.calibration) == ("resnet50", "imagenet-select", 0.0)
    assert (recipe.iterations, recipe.batch_size, full.protocol().max_long_side) == (60_000, 32, 2048)


def test_zegformer_writes_potted_plant_in_two_words_and_zsseg_in_one():
    zegformer, zsseg = (resolved(name, "pascal-voc") for name in ("zegformer", "zsseg"))
    words = zegformer.dataset.name_sets[zegformer.preset.names].words
    assert {*words} ^ {*zegformer.dataset.classes} == {"potted plant", "pottedplant"} and zsseg.preset.names is None


def test_the_decoder_drops_states_within_its_feed_forward_too():
    network = MaskFormer(Backbone("resnet18-miniature", "batch", "random"), queries=2, layers=1, width=32, dropout=0.1)
    (layer,) = network.transformer.decoder.layers
    assert layer.mlp.activation_dropout == layer.mlp.dropout == 0.1
