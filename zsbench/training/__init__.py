"""The loop, its phases, augmentation, and its log."""
