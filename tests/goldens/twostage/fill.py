"""Deterministic parameter fill shared by every golden of this folder.

Rule (all draws in float64, cast to the tensor's dtype at the end), for each
official state-dict key `k` with shape `s`:
    rs = numpy.random.RandomState(zlib.crc32(k.encode()) & 0x7fffffff)
    z  = rs.standard_normal(s)                 # s == () -> one scalar draw
 first match wins:
  1. k ends with 'num_batches_tracked' or 'empty_weight', or k is a
     normalisation constant (pixel_mean/pixel_std/clip_pixel_*) -> untouched
  2. k ends with 'logit_scale'      -> ln(100) everywhere (4.605170...)
  3. k ends with 'running_mean'     -> 0.02 * z
  4. k ends with 'running_var'      -> 1 + 0.1 * |z|
  4b. k ends with 'query_embed.weight' -> z  (unit variance, else all queries collapse)
  4c. 'predictor.transformer.' in k and k ends with 'in_proj_weight' -> 4 * z / sqrt(fan_in)
     (peaky attention; with plain scaling every query attends uniformly and all 100 masks coincide)
  5. ndim >= 2                      -> z / sqrt(fan_in), fan_in = prod(s[1:])
  6. ndim == 1 and ends '.weight'   -> 1 + 0.05 * z      (every 1-d weight is a norm)
  7. ndim == 1 and ends 'bias'      -> 0.02 * z           (also in_proj_bias)
  8. any other 1-d tensor           -> z / sqrt(s[0])     (CLIP class_embedding)
  9. any other scalar               -> untouched
"""

import math
import zlib

import numpy as np
import torch

SKIP_SUFFIX = ("num_batches_tracked", "empty_weight", "pixel_mean", "pixel_std")


def det_array(key, shape):
    shape = tuple(shape)
    if key.endswith(SKIP_SUFFIX):
        return None
    if key.endswith("logit_scale"):
        return np.full(shape, math.log(100.0))
    rs = np.random.RandomState(zlib.crc32(key.encode()) & 0x7FFFFFFF)
    z = rs.standard_normal(shape if shape else ())
    if key.endswith("running_mean"):
        return 0.02 * z
    if key.endswith("running_var"):
        return 1 + 0.1 * np.abs(z)
    if key.endswith("query_embed.weight"):
        return z
    if "predictor.transformer." in key and key.endswith("in_proj_weight"):
        return 4 * z / math.sqrt(float(np.prod(shape[1:])))
    if len(shape) >= 2:
        return z / math.sqrt(float(np.prod(shape[1:])))
    if len(shape) == 1:
        if key.endswith(".weight"):
            return 1 + 0.05 * z
        if key.endswith("bias"):
            return 0.02 * z
        return z / math.sqrt(shape[0])
    return None


@torch.no_grad()
def fill_(state_dict, rename=lambda k: k):
    """In-place fill; `rename` maps the module's own key to the official key."""
    n = 0
    for k, v in state_dict.items():
        a = det_array(rename(k), v.shape)
        if a is None:
            continue
        v.copy_(torch.from_numpy(np.asarray(a)).to(v.dtype))
        n += 1
    return n


def det_image(h, w, tag):
    """uint8-valued float32 RGB CHW image, block pattern + noise (numpy only)."""
    rs = np.random.RandomState(zlib.crc32(("image:" + tag).encode()) & 0x7FFFFFFF)
    bh, bw = -(-h // 32), -(-w // 32)
    coarse = rs.randint(0, 256, (3, bh, bw)).astype(np.int64)
    img = np.kron(coarse, np.ones((32, 32), dtype=np.int64))[:, :h, :w]
    img = img + rs.randint(-16, 17, (3, h, w))
    return np.clip(img, 0, 255).astype(np.float32)


def det_masks(n, h, w, tag, edge_cases=True):
    """n structured mask-logit maps at (h, w): +/-6 ellipses/boxes of varied size,
    plus smooth tilt so that no logit is exactly at the threshold.
    With edge_cases: #0 empty (all -6), #1 one pixel, #2 one row, #3 one column,
    #4 everything (+6)."""
    rs = np.random.RandomState(zlib.crc32(("masks:" + tag).encode()) & 0x7FFFFFFF)
    yy, xx = np.mgrid[0:h, 0:w].astype(np.float64)
    out = np.empty((n, h, w), np.float64)
    for i in range(n):
        cy, cx = rs.uniform(0, h), rs.uniform(0, w)
        ry, rx = rs.uniform(0.04, 0.5) * h, rs.uniform(0.04, 0.5) * w
        if i % 2 == 0:
            ins = ((yy - cy) / ry) ** 2 + ((xx - cx) / rx) ** 2 <= 1
        else:
            ins = (np.abs(yy - cy) <= ry) & (np.abs(xx - cx) <= rx)
        out[i] = np.where(ins, 6.0, -6.0) + 0.5 * np.sin(0.1 * yy + 0.07 * xx + i)
    if edge_cases:
        out[:5] = -6.0
        out[1, h // 2, w // 3] = 6.0
        out[2, h // 4, w // 5 : w // 2] = 6.0
        out[3, h // 5 : h // 2, w // 4] = 6.0
        out[4] = 6.0
    return out.astype(np.float32)
