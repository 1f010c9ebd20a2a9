"""The operators an uploaded program may use: pure functions of tensors, numbers and containers.

A classifier needs arithmetic, layers, shapes, and the little language around them. Everything else is
refused, known to be harmful or not. Left out on purpose, although PyTorch registers them for every program:

* ``from_file``, ``save``: read and write files.
* ``fork``, ``awaitable``, ``wait``, ``rpc_*``, ``to_here``, ``c10d::*``, ``symm_mem::*``: start threads, and
  reach other machines.
* ``set_``, ``set_data``, ``resize_``, ``as_strided``, ``_reshape_alias``, ``_unsafe_index``, ``_nested_*``,
  ``_index_put_impl_``: touch memory with fewer checks than others.
* ``_cufft_*``, ``_cudnn_init_*``, ``seed``, ``Generator``, ``pin_memory``, ``record_stream``: change the
  state of the process.
* ``quantized::*``, ``mkldnn::*``, ``prepacked::*``, ``sparse::*`` and every other namespace: their packed
  weights are objects with a ``__setstate__`` in C++.
* ``*_backward``, ``backward``, ``grad``, ``requires_grad_``: derivatives are ours to take.
"""

from __future__ import annotations

_ARITHMETIC = """
    abs absolute add addbmm addcdiv addcmul addmm addmv addr baddbmm bmm ceil clamp clamp_max clamp_min clip
    copysign cross cumprod cumsum deg2rad div divide dot exp exp2 expm1 fix float_power floor floor_divide
    floordiv fmax fmin fmod frac frexp hypot inner kron lerp log log10 log1p log2 logaddexp logaddexp2
    logcumsumexp logsumexp logit matmul matrix_exp matrix_power max maximum min minimum mm mul multiply mv
    nan_to_num neg negative outer positive pow prod rad2deg reciprocal remainder round rsqrt rsub sgn sign
    sqrt square sub subtract sum true_divide trunc vdot xlogy chain_matmul einsum tensordot mathremainder
    fabs degrees radians modf divmod factorial gcd __round_to_zero_floordiv mean median mode norm std
    std_mean var var_mean nansum nanmean cov corrcoef frobenius_norm cdist pdist pairwise_distance dist
    cosine_similarity linalg_norm linalg_vector_norm linalg_matrix_norm linalg_matmul linalg_multi_dot
    linalg_vecdot linalg_cross linalg_det linalg_inv linalg_solve linalg_qr linalg_svd linalg_svdvals
    linalg_eigh linalg_cholesky linalg_pinv det inverse pinverse sin cos tan asin acos atan atan2 sinh cosh
    tanh asinh acosh atanh sinc erf erfc erfinv lgamma digamma arcsin arccos arctan arctan2 special_erf
    special_erfc special_expit special_softmax special_log_softmax special_logsumexp special_log1p
    special_expm1 special_exp2 special_logit special_ndtr fft_fft fft_fft2 fft_fftn fft_ifft fft_ifft2
    fft_ifftn fft_rfft fft_rfft2 fft_rfftn fft_irfft fft_irfft2 fft_irfftn fft_fftshift fft_ifftshift
    fft_fftfreq fft_rfftfreq stft complex polar real imag conj resolve_conj resolve_neg view_as_real
    view_as_complex angle
"""

_COMPARISON = """
    eq ne lt le gt ge equal not_equal less less_equal greater greater_equal isclose allclose isfinite isinf
    isnan isin logical_and logical_not logical_or logical_xor bitwise_and bitwise_not bitwise_or bitwise_xor
    bitwise_left_shift bitwise_right_shift all any where signbit heaviside is_nonzero __and__ __or__ __xor__
    __not__ __is__ __isnot__ __contains__ __lshift__ __rshift__ __iand__ __ior__
"""

_LAYERS = """
    linear bilinear conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d convolution
    _convolution _convolution_mode conv_tbc batch_norm instance_norm group_norm layer_norm rms_norm
    native_batch_norm native_layer_norm native_group_norm _native_batch_norm_legit
    _native_batch_norm_legit_no_training _weight_norm _weight_norm_interface norm_except_dim _fused_rms_norm
    dropout alpha_dropout feature_dropout feature_alpha_dropout native_dropout avg_pool1d avg_pool2d
    avg_pool3d max_pool1d max_pool2d max_pool3d max_pool1d_with_indices max_pool2d_with_indices
    max_pool3d_with_indices adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d
    adaptive_max_pool2d adaptive_max_pool3d _adaptive_avg_pool2d _adaptive_avg_pool3d fractional_max_pool2d
    max_unpool2d embedding embedding_bag lstm gru rnn_tanh rnn_relu lstm_cell gru_cell rnn_tanh_cell
    rnn_relu_cell scaled_dot_product_attention _scaled_dot_product_attention_math
    _native_multi_head_attention _transformer_encoder_layer_fwd _transform_bias_rescale_qkv pixel_shuffle
    pixel_unshuffle channel_shuffle native_channel_shuffle im2col col2im grid_sampler grid_sampler_2d
    grid_sampler_3d affine_grid_generator upsample_nearest1d upsample_nearest2d upsample_nearest3d
    _upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d upsample_linear1d
    upsample_bilinear2d upsample_bicubic2d upsample_trilinear3d _upsample_bilinear2d_aa
    _upsample_bicubic2d_aa __interpolate __upsample __upsample_bilinear __upsample_nearest pad
    constant_pad_nd reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d
    replication_pad3d _pad_circular _pad_enum fake_quantize_per_tensor_affine
    fake_quantize_per_channel_affine
"""

_ACTIVATIONS = """
    relu relu6 leaky_relu prelu _prelu_kernel rrelu elu celu selu gelu silu mish glu sigmoid log_sigmoid
    tanh softmax _softmax log_softmax _log_softmax _safe_softmax softplus softshrink hardshrink hardsigmoid
    hardswish hardtanh threshold
"""

_LOSSES = """
    cross_entropy_loss nll_loss nll_loss_nd nll_loss2d mse_loss l1_loss smooth_l1_loss huber_loss kl_div
    binary_cross_entropy binary_cross_entropy_with_logits
"""

_SHAPES = """
    view view_as reshape reshape_as flatten unflatten ravel squeeze unsqueeze permute transpose movedim
    moveaxis swapaxes swapdims t mT mH numpy_T adjoint expand expand_as broadcast_to broadcast_tensors
    broadcast_shapes repeat repeat_interleave tile cat concat concatenate stack hstack vstack dstack
    column_stack row_stack split split_with_sizes chunk unsafe_chunk unsafe_split unsafe_split_with_sizes
    tensor_split hsplit vsplit dsplit unbind select slice narrow diagonal diag diag_embed diagflat tril triu
    flip fliplr flipud roll rot90 unfold block_diag cartesian_prod meshgrid atleast_1d atleast_2d atleast_3d
    trace index index_select index_add index_copy index_fill index_put gather scatter
    scatter_add scatter_reduce masked_fill masked_select masked_scatter take take_along_dim select_scatter
    slice_scatter diagonal_scatter nonzero argwhere argmax argmin argsort sort msort topk kthvalue cummax
    cummin amax amin aminmax unique_consecutive _unique2 unique_dim searchsorted bucketize bincount histc
    one_hot count_nonzero _unsafe_view select_copy slice_copy view_copy permute_copy expand_copy
    transpose_copy t_copy squeeze_copy unsqueeze_copy alias alias_copy detach detach_copy lift_fresh
    lift_fresh_copy lift clone contiguous copy fill zero _shape_as_tensor _assert_tensor_metadata
"""

_CREATION = """
    empty empty_like empty_permuted empty_strided zeros zeros_like ones ones_like full full_like arange
    linspace logspace eye rand rand_like randn randn_like randint randint_like randperm bernoulli
    multinomial normal uniform exponential new_empty new_empty_strided new_full new_ones new_zeros
    scalar_tensor tensor as_tensor _list_to_tensor tril_indices triu_indices hann_window hamming_window
    blackman_window random
"""

_QUERIES = """
    size dim numel len device item is_floating_point is_complex is_contiguous is_signed is_grad_enabled
    is_autocast_enabled is_autocast_cpu_enabled get_autocast_dtype is_scripting is_same_size is_leaf stride
    storage_offset element_size get_device result_type promote_types can_cast sym_size sym_stride sym_numel
    sym_storage_offset has_torch_function is_inference is_conj is_neg to type_as _to_copy cpu cuda
    _cast_Float _cast_Double _cast_Half _cast_Int _cast_Long _cast_Byte _cast_Char _cast_Short
    _autocast_to_full_precision _autocast_to_reduced_precision data Bool Int Float Complex IntImplicit
    FloatImplicit ScalarImplicit ComplexImplicit _local_scalar_dense set_grad_enabled _assert_async
    _assert_scalar sym_constrain_range sym_constrain_range_for_size _functional_sym_constrain_range
    _functional_assert_async _functional_assert_scalar
"""

_LANGUAGE = """
    append extend insert pop popitem remove clear reverse sort sorted list dict items keys values get update
    setdefault copy index count __getitem__ _set_item Delete __derive_index __range_length _unwrap_optional
    format percentFormat str join split strip lstrip rstrip startswith endswith replace lower upper find
    isdigit ord chr hash range warn manual_seed abs bin hex oct
"""

_PRIM = """
    NumToTensor RaiseException Print TupleIndex TupleUnpack Uninitialized unchecked_cast
    unchecked_unwrap_optional ModuleContainerIndex StringIndex EnumName EnumValue abs data device dtype
    index is_cpu is_cuda is_meta is_mkldnn is_mps is_nested is_quantized is_sparse is_sparse_csr is_xla
    is_xpu is_vulkan is_ipu is_mtia is_maia itemsize layout max min name nbytes rangelist requires_grad
    tolist type
"""

_STRUCTURE = """
    Constant Param Return If Loop ListConstruct ListUnpack TupleConstruct TupleSlice DictConstruct GetAttr
    SetAttr CallMethod CallFunction CreateObject isinstance hasattr Enter Exit LoopContinuation
"""

_SYMBOLS = """
    add sub mul truediv floordiv mod neg pos pow eq ne lt le gt ge and_ or_ not_ getitem
"""


def _names(namespace: str, *categories: str) -> frozenset[str]:
    return frozenset(f"{namespace}::{name}" for text in categories for name in text.split())


def _with_variants(names: frozenset[str]) -> frozenset[str]:
    """Add the forms that write their result into an argument: ``relu_`` is as harmless as ``relu``."""
    return names | {f"{name}_" for name in names if not name.endswith("_")}


ALLOWED_OPERATORS = _with_variants(
    _names(
        "aten",
        _ARITHMETIC,
        _COMPARISON,
        _LAYERS,
        _ACTIVATIONS,
        _LOSSES,
        _SHAPES,
        _CREATION,
        _QUERIES,
        _LANGUAGE,
    )
) | _names("prim", _PRIM)
"""What a program's text may call, as ``namespace::name``."""

ALLOWED_IR = ALLOWED_OPERATORS | _names("prim", _STRUCTURE)
"""What a loaded program's graphs may hold: the operators, and what the language itself compiles to."""

ALLOWED_EXPORT_TARGETS = _names("_operator", _SYMBOLS) | {
    # Their branches are graphs of the file, checked like any other.
    "higher_order::cond",
    "higher_order::wrap_with_autocast",
    "higher_order::wrap_with_set_grad_enabled",
    "math::ceil",
    "math::floor",
    "math::sqrt",
    "math::trunc",
    "torch::sym_float",
    "torch::sym_int",
    "torch::sym_ite",
    "torch::sym_max",
    "torch::sym_min",
    "torch::sym_not",
    "torch::sym_sqrt",
}
"""What an exported graph may call besides operators: functions of sizes, and branches."""


def is_allowed(operator: str) -> bool:
    """Whether a program may call an operator, given as ``namespace::name``."""
    return operator in ALLOWED_OPERATORS
