"""The name of all that an item's cached state depends on, so that models whose lower part is the same share states.

An adapter that leaves the layers below the split alone changes no item's state: a new version of such a model starts
with a full cache.
"""

import hashlib
import json

import torch
from transformers import BertModel

from shared.model.base import Base
from shared.model.manifest import ModelManifest
from shared.model.placement import Placement

_DIGEST_BYTES = 16


def lower_key(base: Base, bert: BertModel, manifest: ModelManifest, placement: Placement) -> str:
    """A fingerprint (BLAKE2b, hexadecimal): where it is equal, encoding an item gives equal states.

    Args:
        base: what the model is built on.
        bert: its weights with any adapter merged; may be those of `base` themselves.
        manifest: says how candidates are laid out, and up to which layer they are alone.
        placement: where and in which number format states are computed.
    """
    layout = manifest.layout
    reads = {
        "base": (base.base_id, base.sha256),
        "template": manifest.template_version,
        "layout": (layout.max_candidate_tokens, layout.candidate_cls, layout.candidate_token_type),
        "offset": layout.candidate_offset,
        "split_depth": layout.split_depth,
        "placement": (placement.device, placement.dtype),
    }
    digest = hashlib.blake2b(json.dumps(reads).encode(), digest_size=_DIGEST_BYTES)
    before = dict(base.bert.named_parameters())
    below = ("embeddings.", *(f"encoder.layer.{depth}." for depth in range(layout.split_depth)))
    for name, parameter in bert.named_parameters():
        if name.startswith(below) and not torch.equal(parameter, before[name]):
            digest.update(name.encode() + b"\0")
            digest.update(parameter.detach().numpy().tobytes())
    return digest.hexdigest()
