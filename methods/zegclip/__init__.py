"""ZegCLIP (Zhou et al., "Towards Adapting CLIP for Zero-shot Semantic Segmentation", CVPR 2023).

The defaults are the released code's (github.com/ZiqinZhou66/ZegCLIP); what the paper says differently is an option.
Where both leave it open:

- Ablations (Tables 4 to 6) have no released configurations. Without NEL the loss is softmax cross-entropy over labelled
  pixels; "plain" NEL is binary cross-entropy, normalised like the focal loss; without RD the query is the text
  embedding through a linear layer. A finetuned CLIP learns at a tenth of the other parameters' rate (`encoder_rate`).
- The released decoder has 5,782,016 parameters that nothing depends on. They are built for the datasets of the paper,
  so that parameter counts are those of its Table 3, and nowhere else (`idle_parameters`); they are never computed with.
- The calibration of seen classes (0.1, in the code alone) applies to models that were trained without unseen classes.
  The released fully supervised models shift all classes alike, which decides nothing.
- Self-training gives pseudo labels, among the unseen classes, to what the training view marks as unlabelled: pixels of
  unseen classes (the released code; the paper's dagger) or all pixels without a label (the paper's plain "ST"), as the
  recipe's `pseudo_labels` says.
- PASCAL Context has no released configuration; it gets 35 prompts here.
"""
