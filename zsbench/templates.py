"""The name by which version 0.1 had the prompt templates of `zsbench.clip.templates`."""

from zsbench.clip.templates import SINGLE, TEMPLATES, VILD15, imagenet80, read_templates

__all__ = ["SINGLE", "TEMPLATES", "VILD15", "imagenet80", "read_templates"]
