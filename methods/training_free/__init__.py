"""Training-free methods: CLIP's patches compared with its texts, and what each changes in the last blocks; and MaskCLIP+, a
network that MaskCLIP teaches, beside its teacher."""
