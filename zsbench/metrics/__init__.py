"""From counts of pixels to numbers, with how sure they are."""
