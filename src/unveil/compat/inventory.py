"""Which modules the stand-in provides, and where their names come from."""

_SCAN = "unveil.compat.selective_scan_interface"
_INNER = "unveil.compat.mamba_inner"
_MAMBA = "unveil.compat.mamba_simple"
_CONVOLUTION = "unveil.compat.causal_conv1d"
_UPDATE = "unveil.compat.selective_state_update"
_EXTENSIONS = "unveil.compat.extensions"
_NORM = "unveil.compat.layer_norm"
_GATED = "unveil.compat.layernorm_gated"
_SSD = "unveil.compat.ssd_combined"
_MAMBA2 = "unveil.compat.mamba2"
_UTILITIES = "unveil.compat.utilities"


def _from(source: str, *names: str) -> dict[str, str]:
    return dict.fromkeys(names, source)


_NORMS = {
    **_from(_NORM, "RMSNorm", "layer_norm_fn", "rms_norm_fn", "layer_norm_linear_fn"),
    **_from(_NORM, "layer_norm_ref", "rms_norm_ref"),
}
_SCANS = _from(_SCAN, "selective_scan_fn", "selective_scan_ref", "SelectiveScanFn")
_INNERS = _from(
    _INNER,
    "mamba_inner_fn",
    "mamba_inner_ref",
    "mamba_inner_fn_no_out_proj",
    "bimamba_inner_fn",
    "bimamba_inner_ref",
    "MambaInnerFn",
    "MambaInnerFnNoOutProj",
    "BiMambaInnerFn",
)
_UPDATES = _from(_UPDATE, "selective_state_update", "selective_state_update_ref")
_SSDS = _from(
    _SSD,
    "mamba_chunk_scan_combined",
    "mamba_chunk_scan",
    "mamba_split_conv1d_scan_combined",
    "mamba_split_conv1d_scan_ref",
    "mamba_conv1d_scan_ref",
    "ssd_chunk_scan_combined_ref",
    "ssd_selective_scan",
)
_GATES = {
    **_from(_GATED, "layernorm_fn", "rmsnorm_fn", "rms_norm_ref", "LayerNorm"),
    "RMSNorm": f"{_GATED}:RMSNormGated",
}

# Module to provide → where its names come from. An empty dict is a package that only holds others.
MODULES: dict[str, dict[str, str]] = {
    "mamba_ssm": {
        **_from(_MAMBA, "Mamba"),
        **_from(_MAMBA2, "Mamba2"),
        **_from(_SCAN, "selective_scan_fn"),
        **_from(_INNER, "mamba_inner_fn"),
    },
    "mamba_ssm.modules": {},
    "mamba_ssm.modules.mamba_simple": {
        **_from(_MAMBA, "Mamba"),
        "Block": "unveil.compat.block:SimpleBlock",
        **_from(_SCAN, "selective_scan_fn"),
        **_from(_INNER, "mamba_inner_fn", "mamba_inner_fn_no_out_proj", "bimamba_inner_fn"),
        **_from(_CONVOLUTION, "causal_conv1d_fn", "causal_conv1d_update"),
        **_from(_UPDATE, "selective_state_update"),
        **_from(_NORM, "RMSNorm", "layer_norm_fn", "rms_norm_fn"),
    },
    "mamba_ssm.modules.mamba2": {
        **_from(_MAMBA2, "Mamba2"),
        "RMSNormGated": _GATED,
        **_from(_SSD, "mamba_chunk_scan_combined", "mamba_split_conv1d_scan_combined"),
        **_from(_CONVOLUTION, "causal_conv1d_fn", "causal_conv1d_update"),
        **_from(_UPDATE, "selective_state_update"),
    },
    "mamba_ssm.modules.mamba2_simple": _from("unveil.compat.mamba2_simple", "Mamba2Simple"),
    "mamba_ssm.modules.block": _from("unveil.compat.block", "Block"),
    "mamba_ssm.ops": {},
    "mamba_ssm.ops.selective_scan_interface": {**_SCANS, **_INNERS},
    "mamba_ssm.ops.triton": {},
    "mamba_ssm.ops.triton.layer_norm": _NORMS,
    "mamba_ssm.ops.triton.layernorm": _NORMS,
    "mamba_ssm.ops.triton.layernorm_gated": _GATES,
    "mamba_ssm.ops.triton.selective_state_update": _UPDATES,
    "mamba_ssm.ops.triton.ssd_combined": _SSDS,
    "mamba_ssm.utils": {},
    "mamba_ssm.utils.generation": _from(_UTILITIES, "InferenceParams", "GenerationMixin"),
    "mamba_ssm.utils.hf": _from(_UTILITIES, "load_config_hf", "load_state_dict_hf"),
    "mamba_ssm.utils.torch": _from(_UTILITIES, "custom_fwd", "custom_bwd"),
    "causal_conv1d": _from(_CONVOLUTION, "causal_conv1d_fn", "causal_conv1d_update"),
    "causal_conv1d.causal_conv1d_interface": {
        **_from(_CONVOLUTION, "causal_conv1d_fn", "causal_conv1d_ref"),
        **_from(_CONVOLUTION, "causal_conv1d_update", "causal_conv1d_update_ref"),
    },
    "causal_conv1d.causal_conv1d_varlen": {
        "causal_conv1d_varlen_states": _CONVOLUTION,
        "causal_conv1d_varlen_states_ref": f"{_CONVOLUTION}:causal_conv1d_varlen_states",
    },
    "causal_conv1d_cuda": _from(
        "unveil.compat.causal_conv1d_extension",
        "causal_conv1d_fwd",
        "causal_conv1d_bwd",
        "causal_conv1d_update",
    ),
    "selective_scan": {
        "selective_scan_fn": f"{_EXTENSIONS}:vmamba_scan_fn",
        "selective_scan_ref": f"{_EXTENSIONS}:vmamba_scan_ref",
    },
    "selective_scan_cuda": {"fwd": f"{_EXTENSIONS}:mamba_fwd", "bwd": f"{_EXTENSIONS}:mamba_bwd"},
    "selective_scan_cuda_core": {
        "fwd": f"{_EXTENSIONS}:core_fwd",
        "bwd": f"{_EXTENSIONS}:core_bwd",
    },
    "selective_scan_cuda_oflex": {
        "fwd": f"{_EXTENSIONS}:oflex_fwd",
        "bwd": f"{_EXTENSIONS}:core_bwd",
    },
}

# In the order in which installed ones are proved: each may call those before it.
PACKAGES = (
    "selective_scan_cuda",
    "selective_scan_cuda_core",
    "selective_scan_cuda_oflex",
    "causal_conv1d_cuda",
    "causal_conv1d",
    "selective_scan",
    "mamba_ssm",
)

# Without a GPU these are provided also within a `mamba_ssm` that is somebody else's.
TRITON = "mamba_ssm.ops.triton."
# And these where its own cannot be imported: they need a version of transformers.
LANGUAGE = ("mamba_ssm.utils.generation", "mamba_ssm.utils.hf")

VERSIONS = {"mamba_ssm": "2.2.2+unveil", "causal_conv1d": "1.4.0+unveil"}

# What people ask for in vain, and what to say about it: the start of a name, a sentence.
ABSENT = (
    ("mamba_ssm.modules.mamba3", "Mamba-3 is not provided"),
    ("mamba_ssm.Mamba3", "Mamba-3 is not provided"),
    ("mamba_ssm.models", "the language models are not provided"),
    ("mamba_ssm.MambaLMHeadModel", "the language models are not provided"),
    ("mamba_ssm.distributed", "tensor parallelism is not provided"),
    ("mamba_ssm.ops.triton", "Triton kernels are provided by their public functions alone"),
)
