"""The linear head: CLIP's patches through one matrix that learns, and nothing else of it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from zsbench.clip.text import Vocabulary
from zsbench.dataset import IGNORE
from zsbench.errors import UserError
from zsbench.methods.linear_head.method import LinearHead
from zsbench.methods.linear_head.options import LinearHeadOptions


@pytest.fixture
def head(tiny_clip):
    def build(**options):
        torch.manual_seed(0)
        method = LinearHead(tiny_clip, LinearHeadOptions(**options))
        words = F.normalize(torch.randn(3, tiny_clip.dim), dim=-1)
        method.set_vocabulary(Vocabulary(("cat", "grass", "sky"), words, torch.tensor([True, True, False])))
        return method

    return build


def images(clip, count=2):
    return torch.rand(count, 3, 2 * clip.patch_size, 3 * clip.patch_size, generator=torch.Generator().manual_seed(1))


def test_a_map_that_changes_nothing_gives_the_cosines_of_clips_own_patches(tiny_clip, head):
    method, batch = head(start="identity", scale=1.0), images(tiny_clip)
    visual = tiny_clip.model.visual
    square = torch.rand(1, 3, tiny_clip.image_size, tiny_clip.image_size)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (tiny_clip.mean, tiny_clip.std))
    visual.output_tokens = True
    try:
        with torch.no_grad():
            _, tokens = visual((square - mean) / std)
    finally:
        visual.output_tokens = False
    expected = F.normalize(tokens @ visual.proj, dim=-1) @ method.vocabulary.embeddings.T
    found = method.predict(square).flatten(2).mT
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert method.predict(batch).shape == (2, len(method.vocabulary), 2, 3)


def test_the_matrix_learns_and_clip_does_not(tiny_clip, head):
    method, batch = head(), images(tiny_clip)
    labels = torch.randint(0, len(method.vocabulary), (2, *batch.shape[-2:]))
    labels[0] = IGNORE
    learns = {name for name, each in method.named_parameters() if each.requires_grad}
    assert learns == {"head.weight", "head.bias"}
    optimiser = torch.optim.AdamW(method.head.parameters(), 1e-2)
    values = []
    for _ in range(20):
        found = method.losses(batch, labels)
        loss = found.values["ce"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        values.append(loss.item())
    assert values[-1] < values[0] and int(found.terms) == labels[1].numel()


def test_a_batch_without_a_labelled_pixel_teaches_nothing(tiny_clip, head):
    batch = images(tiny_clip)
    assert head().losses(batch, torch.full((2, *batch.shape[-2:]), IGNORE)).values["ce"] == 0


def test_an_image_smaller_than_a_patch_is_refused(head):
    with pytest.raises(UserError, match="smaller than a patch"):
        head().predict(torch.rand(1, 3, 2, 2))
