"""Every row of the paper's ablation tables is a variant that builds and learns."""

import pytest
import torch

from zsbench.dataset import IGNORE, UNLABELLED
from zsbench.methods.zegclip.options import ZegClipOptions
from zsbench.recipe import Recipe
from zsbench.reports.published import read_published


def batch(lowest=IGNORE):
    torch.manual_seed(3)
    return torch.rand(2, 3, 32, 40), torch.randint(lowest, 3, (2, 32, 40))


def gradients(method, images, labels):
    losses = method.train().losses(images, labels)
    assert all(loss.isfinite() and loss.shape == () for loss in losses.values.values())
    losses.total.backward()
    return {name: parameter.grad for name, parameter in method.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("variant", ZegClipOptions.variants)
def test_learns(small_method, variant):
    """Finite losses, and finite gradients for everything that is learnable."""
    options = {name: value for name, value in ZegClipOptions.variants[variant].items() if name != "prompt_depth"}
    grads = gradients(small_method(**options), *batch())
    assert grads
    for name, grad in grads.items():
        assert grad is not None and grad.isfinite().all(), name


@pytest.mark.parametrize("setting", ["transductive", "all ignored"])
@pytest.mark.parametrize("variant", ["baseline-fix", "baseline-dpt-nel-rd", "loss-plain", "ignored-pixels"])
def test_learns_from_other_labels(small_method, variant, setting):
    images, labels = batch(UNLABELLED)
    if setting == "all ignored":
        labels = torch.full_like(labels, IGNORE)
    for grad in gradients(small_method(**ZegClipOptions.variants[variant]), images, labels).values():
        assert grad.isfinite().all()


@pytest.mark.parametrize(
    ("variant", "clip", "prompts"), [("baseline-fix", 0, 0), ("baseline-ft", 1, 0), ("baseline-dpt", 0, 1)]
)
def test_what_each_baseline_learns(small_method, variant, clip, prompts):
    """Fix: neither CLIP nor prompts; FT: CLIP; DPT: prompts; all of them the decoder."""
    names = [name for name, p in small_method(**ZegClipOptions.variants[variant]).named_parameters() if p.requires_grad]
    assert any(name.startswith("encoder.blocks.") for name in names) == bool(clip)
    assert any(name.startswith("encoder.prompts.") for name in names) == bool(prompts)
    assert any(name.startswith("decoder.") for name in names)


def test_tables_have_the_papers_rows():
    """12 queries, 12 baselines, 2 losses, each with the paper's numbers on PASCAL VOC, and the best rows are the default."""
    assert {number: len(rows) for number, rows in ZegClipOptions.tables.items()} == {4: 12, 5: 12, 6: 2}
    printed = {(row["method_id"], row["variant_id"]) for row in read_published() if row["dataset_id"] == "pascal-voc"}
    for row in (row for rows in ZegClipOptions.tables.values() for row in rows):
        assert row.variant in ZegClipOptions.variants
        assert ("zegclip", row.variant) in printed, row
    for best in ("query-product-t", "baseline-dpt-nel-rd", "loss-plus"):
        assert ZegClipOptions(**ZegClipOptions.variants[best]) == ZegClipOptions()


def test_rows_differ():
    """No two rows of a table are the same options."""
    for rows in ZegClipOptions.tables.values():
        assert len({ZegClipOptions(**ZegClipOptions.variants[row.variant]).model_dump_json() for row in rows}) == len(
            rows
        )


@pytest.mark.parametrize("name", ZegClipOptions.presets)
def test_presets_are_options(name):
    assert ZegClipOptions(**ZegClipOptions.presets[name].options)
    assert Recipe(**ZegClipOptions.presets[name].recipe)


def test_every_option_says_what_it_does():
    assert all(field.description for field in ZegClipOptions.model_fields.values())


@pytest.mark.parametrize(
    ("given", "terms"),
    [
        ("t*g,t", ("t*g", "t")),
        ("off", ("t",)),
        (["off"], ("t",)),
        ("|t-g|", ("|t-g|",)),
        ([" t + g", "t"], ("t+g", "t")),
    ],
)
def test_query_from_the_command_line(given, terms):
    assert ZegClipOptions(rd=given).rd == terms
    assert ZegClipOptions(**ZegClipOptions(rd=given).model_dump(mode="json")).rd == terms


@pytest.mark.parametrize("wrong", ["", "g*t", "t,,g", 3])
def test_no_query(wrong):
    with pytest.raises(ValueError, match="rd"):
        ZegClipOptions(rd=wrong)
