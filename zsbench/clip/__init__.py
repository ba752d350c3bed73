"""Image and text encoders: model, weights in every layout, tokenizer, templates, vocabulary."""
