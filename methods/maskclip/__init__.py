"""MaskCLIP: dense CLIP features without any training (Zhou et al., "Extract Free Dense Labels from CLIP", ECCV 2022)."""
