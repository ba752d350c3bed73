"""ZegCLIP: towards adapting CLIP for zero-shot semantic segmentation (Zhou et al., CVPR 2023)."""
