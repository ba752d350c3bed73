"""The systems before CLIP: SPNet, STRICT, JoEm, ZS3 and ZS5, CaGNet, SIGN. A DeepLab and word vectors are all they have.

Three ideas. *Projection* (SPNet, and STRICT on its network): a pixel is mapped into the space of word vectors, and its dot
product with a class's vector is the logit. *Joint embedding* (JoEm): words and pixels are mapped into one space, and the
nearest class wins. *Generation* (ZS3, CaGNet, SIGN): features of unseen classes are generated from their words, and a
classifier is trained on them as if they were real.

Written from descriptions of what the released code does (the code of STRICT, JoEm, CaGNet and SIGN is under no free
licence, and none of it is here); outputs, losses and gradients equal the released ones under the same weights.
"""
