"""Two-stage segmentation: a network proposes masks, CLIP names each of them.

Proposals, region classification and fusion are exchanged independently; `zegformer` and `zsseg` are two choices.
"""
