"""Attention operators that PyTorch runs without gradients, written out so that they have them.

``nn.MultiheadAttention`` and ``nn.TransformerEncoderLayer`` call one fused operator each when no gradient is
needed, and a trace made under ``torch.no_grad`` holds that operator for good. It has no derivative. The
functions here take the same arguments; without gradients they call the operator itself, so that predictions
are the file's own, and with gradients they compute the same from operators that have a derivative
(torch/nn/modules/activation.py and transformer.py are the reference). Attention masks, which image
classifiers do not use, are refused.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - PyTorch's own convention

FUSED_ATTENTION = frozenset({"aten::_native_multi_head_attention", "aten::_transformer_encoder_layer_fwd"})
"""The fused operators, each with its function below."""

_Weights = tuple[Tensor, Tensor, Tensor, Tensor]


def native_multi_head_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim: int,
    num_heads: int,
    qkv_weight: Tensor,
    qkv_bias: Tensor,
    proj_weight: Tensor,
    proj_bias: Tensor,
    *options: object,
) -> tuple[Tensor, Tensor | None]:
    """Self-attention over (N, L, E): the output, and the attention weights where they were asked for."""
    if not torch.is_grad_enabled():
        attend = torch.ops.aten._native_multi_head_attention.default  # noqa: SLF001 - the operator's name
        weights = (qkv_weight, qkv_bias, proj_weight, proj_bias)
        fused: tuple[Tensor, Tensor | None] = attend(
            query, key, value, embed_dim, num_heads, *weights, *options
        )
        return fused
    mask, needs_weights = [*options, None, True][:2] if len(options) < 2 else options[:2]
    if needs_weights or not (query is key and key is value):
        raise RuntimeError(
            "attention that returns its weights, or attends to another tensor, has no gradient here"
        )
    _refuse_mask(mask)
    return _attend(query, num_heads, (qkv_weight, qkv_bias, proj_weight, proj_bias)), None


def transformer_encoder_layer(
    src: Tensor,
    embed_dim: int,
    num_heads: int,
    qkv_weight: Tensor,
    qkv_bias: Tensor,
    proj_weight: Tensor,
    proj_bias: Tensor,
    use_gelu: bool,
    norm_first: bool,
    eps: float,
    norm_weight_1: Tensor,
    norm_bias_1: Tensor,
    norm_weight_2: Tensor,
    norm_bias_2: Tensor,
    ffn_weight_1: Tensor,
    ffn_bias_1: Tensor,
    ffn_weight_2: Tensor,
    ffn_bias_2: Tensor,
    mask: Tensor | None = None,
    mask_type: int | None = None,
) -> Tensor:
    """One encoder layer over (N, L, E)."""
    attention = (qkv_weight, qkv_bias, proj_weight, proj_bias)
    norms = (norm_weight_1, norm_bias_1, norm_weight_2, norm_bias_2)
    feed_forward = (ffn_weight_1, ffn_bias_1, ffn_weight_2, ffn_bias_2)
    if not torch.is_grad_enabled():
        layer = torch.ops.aten._transformer_encoder_layer_fwd.default  # noqa: SLF001 - the operator's name
        settings = (use_gelu, norm_first, eps)
        fused: Tensor = layer(
            src, embed_dim, num_heads, *attention, *settings, *norms, *feed_forward, mask, mask_type
        )
        return fused
    _refuse_mask(mask)

    def norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return F.layer_norm(x, (embed_dim,), weight, bias, eps)

    def feed(x: Tensor) -> Tensor:
        hidden = F.linear(x, ffn_weight_1, ffn_bias_1)
        return F.linear(F.gelu(hidden) if use_gelu else F.relu(hidden), ffn_weight_2, ffn_bias_2)

    if norm_first:
        x = src + _attend(norm(src, norm_weight_1, norm_bias_1), num_heads, attention)
        return x + feed(norm(x, norm_weight_2, norm_bias_2))
    x = norm(src + _attend(src, num_heads, attention), norm_weight_1, norm_bias_1)
    return norm(x + feed(x), norm_weight_2, norm_bias_2)


def _attend(x: Tensor, num_heads: int, weights: _Weights) -> Tensor:
    qkv_weight, qkv_bias, proj_weight, proj_bias = weights
    # (N, L, 3E) -> three of (N, heads, L, E / heads)
    packed = F.linear(x, qkv_weight, qkv_bias).view(*x.shape[:2], 3, num_heads, -1)
    query, key, value = packed.permute(2, 0, 3, 1, 4)
    attended = F.scaled_dot_product_attention(query, key, value)
    return F.linear(attended.transpose(1, 2).flatten(2), proj_weight, proj_bias)


def _refuse_mask(mask: object) -> None:
    if mask is not None:
        raise RuntimeError("attention with a mask has no gradient in a trace made under torch.no_grad")
