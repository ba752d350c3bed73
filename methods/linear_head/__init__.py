"""A linear head on a frozen CLIP: the least that can learn, beside which every other method has to show what it is for."""
