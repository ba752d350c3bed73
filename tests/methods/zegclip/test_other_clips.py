"""No size of CLIP is baked in: ZegCLIP trains and evaluates on a larger and on a coarser image encoder."""

import pytest

import zsbench


@pytest.mark.slow
@pytest.mark.parametrize(
    ("clip", "width", "dim"), [("ViT-B-32-quickgelu", 768, 512), ("ViT-L-14-quickgelu", 1024, 768)]
)
def test_trains_and_evaluates(clip, width, dim, tmp_path):
    """With random weights: one step on two images, then two images. Prompts have the width of the blocks, queries that of
    the embeddings."""
    result = zsbench.run(
        "zegclip", "miniworld", clip=clip, weights="random", limit=2, out=tmp_path / "run", device="cpu"
    )
    assert result.method.clip == clip and result.method.weights.random
    assert result.dataset.images == 2 and 0 <= result.metrics["pAcc"].value <= 100
    shapes = learnt(tmp_path / "run" / "checkpoint.safetensors")
    assert any(width in shape for shape in shapes) and any(dim in shape for shape in shapes)
    again = zsbench.evaluate(
        "zegclip", "miniworld", clip=clip, weights="random", limit=2, out=tmp_path / "again", device="cpu",
        checkpoint=tmp_path / "run" / "checkpoint.safetensors",
    )  # fmt: skip
    assert again.records_sha256 == result.records_sha256


def learnt(path):
    from safetensors import safe_open

    with safe_open(path, "pt") as stored:
        return [tuple(stored.get_slice(name).get_shape()) for name in stored.keys()]  # noqa: SIM118
