"""From a method to label maps and counts."""
