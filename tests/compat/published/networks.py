# ruff: noqa: E501
"""The public networks that `run.py` runs: where each lies and how it is built.

Nothing of these repositories is here: only the names of their files and classes, and the arguments
that make a network small enough to hold to float64.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Network:
    """One network of one repository.

    Attributes:
        name: As in the table of `docs/compat-measurements.md`.
        repository: On GitHub.
        commit: The one it was run at.
        module: What to import.
        small: Builds a small one, in terms of the module `m`.
        inputs: Shapes of its inputs; an integer stands for a batch of that many time steps.
        published: Builds the published one; the small one where None.
        published_inputs: Shapes of its inputs.
        roots: Folders in the repository to import from; `owner/name:folder` for another's.
        shells: Packages whose `__init__` is not run: it would import datasets and trainers.
        stubs: Modules that are not installed and not used by the network: imported as empty.
        compared: Whether it is small enough for the loop and float64.
        training: Whether it runs in training mode alone.
        cpu: Whether the script has CUDA written into it and needs `--cpu`.
        fork: Folder that holds the `mamba_ssm` it was written for.
        block: File of the repository that its README puts into that `mamba_ssm`.
        reason: Why it cannot run; None where it does.
    """

    name: str
    repository: str
    commit: str
    module: str = ""
    small: str = ""
    inputs: tuple[tuple[int, ...], ...] = ((1, 3, 32, 32),)
    published: str | None = None
    published_inputs: tuple[tuple[int, ...], ...] = ((1, 3, 224, 224),)
    roots: tuple[str, ...] = ("",)
    shells: tuple[str, ...] = ()
    stubs: tuple[str, ...] = ()
    compared: bool = True
    training: bool = False
    cpu: bool = False
    fork: str | None = None
    block: str | None = None
    reason: str | None = None


_BASICSR = ("basicsr", "basicsr.archs", "basicsr.models", "basicsr.models.archs")
_VIM = "hustvl/Vim:mamba-1p1p1"
_PATCH = ((1, 3, 64, 64),)
_LARGE = ((1, 3, 128, 128),)
_SMALL_U = "dim=8, num_blocks=[1, 1, 1, 1], num_refinement_blocks=1"
_THREE = "dim=8, num_blocks=[1, 1, 1]"
_IR = "img_size=16, embed_dim=36, depths=(2, 2), upscale=2, upsampler='pixelshuffledirect'"
_V2 = f"{_IR}, num_heads=(2, 2), window_size=8, inner_rank=8, num_tokens=16"
_PLANS = ("nnunetv2.utilities.plans_handling.plans_handler",)
_MMCV = (
    "mmcv",
    "mmcv.cnn",
    "mmcv.cnn.bricks",
    "mmcv.cnn.bricks.transformer",
    "mmcv.cnn.utils",
    "mmcv.cnn.utils.weight_init",
)
_NNUNET_REST = (
    "n_conv_per_stage=2, num_classes=2, n_conv_per_stage_decoder=2, conv_bias=True, "
    "norm_op=torch.nn.InstanceNorm{d}d, norm_op_kwargs=dict(eps=1e-5, affine=True), "
    "nonlin=torch.nn.LeakyReLU, nonlin_kwargs=dict(inplace=True)"
)
# nnU-Net's plans for abdominal MRI: size of a patch, features, strides.
_ABDOMEN = {
    2: ((320, 320), (32, 64, 128, 256, 512, 512, 512), [[1, 1]] + [[2, 2]] * 6),
    3: (
        (48, 160, 224), (32, 64, 128, 256, 320, 320),
        [[1, 1, 1], [1, 2, 2], [2, 2, 2], [2, 2, 2], [2, 2, 2], [1, 2, 2]],
    ),
}  # fmt: skip
_SMALL_VSS = "depths=[1, 1, 2, 1], dims=[16, 32, 64, 128]"

NETWORKS = (
    Network(
        "MambaIR", "csguoh/MambaIR", "33d7b3460c", "basicsr.archs.mambair_arch",
        f"m.MambaIR({_IR})", ((1, 3, 16, 16),),
        "m.MambaIR(upscale=2, embed_dim=180, depths=(6,) * 6, upsampler='pixelshuffle')", _PATCH,
        shells=_BASICSR,
    ),
    Network(
        "MambaIRv2", "csguoh/MambaIR", "33d7b3460c", "basicsr.archs.mambairv2_arch",
        f"m.MambaIRv2({_V2})", ((1, 3, 16, 16),),
        "m.MambaIRv2(upscale=2, embed_dim=174, d_state=16, depths=(6,) * 6, num_heads=(6,) * 6,"
        " inner_rank=64, num_tokens=128, upsampler='pixelshuffle')", _PATCH,
        shells=_BASICSR,
    ),
    Network(
        "MambaIRv2Light", "csguoh/MambaIR", "33d7b3460c", "basicsr.archs.mambairv2light_arch",
        f"m.MambaIRv2Light({_V2})", ((1, 3, 16, 16),),
        "m.MambaIRv2Light(upscale=2, embed_dim=48, depths=(5,) * 4, upsampler='pixelshuffledirect')",
        _PATCH, shells=_BASICSR,
    ),
    Network(
        "MambaIRUNet", "csguoh/MambaIR", "33d7b3460c",
        "basicsr.models.archs.mambairunet_arch", f"m.MambaIRUNet({_SMALL_U.replace('8', '32')})",
        published="m.MambaIRUNet()", published_inputs=_LARGE,
        roots=("realDenoising",), shells=_BASICSR,
    ),
    Network(
        "MaIR", "XLearning-SCU/2025-CVPR-MaIR", "2fb433ee95", "basicsr.archs.mair_arch",
        "m.MaIR(img_size=16, embed_dim=12, depths=(2, 2), scan_len=4)", ((1, 3, 16, 16),),
        "m.MaIR()", _PATCH, shells=_BASICSR,
    ),
    Network(
        "MaIRUNet", "XLearning-SCU/2025-CVPR-MaIR", "2fb433ee95",
        "basicsr.models.archs.mairunet_arch", f"m.MaIRUNet(img_size=32, scan_len=4, {_SMALL_U})",
        published="m.MaIRUNet(img_size=128, scan_len=4)", published_inputs=_LARGE,
        roots=("realDenoising", "realDenoising/basicsr/models/archs", ""),
        shells=(*_BASICSR, "basicsr.utils"), training=True,
    ),
    Network(
        "VmambaIR derain 32", "AlphacatPlus/VmambaIR", "51c2efbdcb",
        "basicsr.models.archs.mamber32_arch", f"m.Mamber32({_SMALL_U})",
        published="m.Mamber32()", published_inputs=_LARGE, roots=("Deraining",), shells=_BASICSR,
    ),
    Network(
        "VmambaIR derain 33", "AlphacatPlus/VmambaIR", "51c2efbdcb",
        "basicsr.models.archs.mamber33_arch", f"m.Mamber33({_SMALL_U})",
        published="m.Mamber33()", published_inputs=_LARGE, roots=("Deraining",), shells=_BASICSR,
    ),
    Network(
        "VmambaIR RealSR", "AlphacatPlus/VmambaIR", "51c2efbdcb", "VmambaIR.archs.MambaRealSR11_arch",
        f"m.MambaRealSR11({_SMALL_U})", ((1, 3, 16, 16),), "m.MambaRealSR11()", _PATCH,
        roots=("RealSR", "csguoh/MambaIR:"), shells=("VmambaIR", "VmambaIR.archs", "basicsr"),
    ),
    Network(
        "VmambaIR SR", "AlphacatPlus/VmambaIR", "51c2efbdcb", "VmambaIR.archs.MambaSISR6_arch",
        f"m.MambaSISR6({_SMALL_U})", ((1, 3, 16, 16),), "m.MambaSISR6()", _PATCH,
        roots=("SRGAN", "csguoh/MambaIR:"), shells=("VmambaIR", "VmambaIR.archs", "basicsr"),
    ),
    Network(
        "EVSSM", "kkkls/EVSSM", "5098a52766", "models.EVSSM",
        f"m.EVSSM({_THREE}, num_refinement_blocks=1)",
        published="m.EVSSM()", published_inputs=_LARGE, shells=("models",),
    ),
    Network(
        "Wave-Mamba", "AlexZou14/Wave-Mamba", "7e8c63f37a", "basicsr.archs.wavemamba_arch",
        "m.WaveMamba(in_chn=3, wf=8)", published="m.WaveMamba(in_chn=3, wf=32, n_l_blocks=[1, 2, 4])",
        published_inputs=_LARGE, shells=_BASICSR,
    ),
    Network(
        "FreqMamba", "aSleepyTree/FreqMamba", "a719781dab",
        "basicsr.models.archs.freqmamba_arch", f"m.FreqMamba({_SMALL_U})", shells=_BASICSR, cpu=True,
    ),
    Network(
        "EAMamba", "daidaijr/EAMamba", "ec13c77db4", "models.eamamba",
        f"m.EAMamba({_SMALL_U}, upscale=1, mamba_cfg=dict(scan_type='diagonal', scan_count=8, scan_merge_method='concate', d_state=4, d_conv=3, expand=1, conv_2d=True))",
        published="m.EAMamba(upscale=1, mamba_cfg=dict(scan_type='diagonal', scan_count=8, scan_merge_method='concate', d_state=16, d_conv=3, expand=1,"
        " conv_2d=True))", published_inputs=_LARGE,
    ),
    Network(
        "XYScanNet", "HanzhouLiu/XYScanNet", "ec43176b45", "models.XYScanNet",
        f"m.XYScanNet({_THREE})", published="m.XYScanNet()", published_inputs=_LARGE,
        shells=("models",),
    ),
    Network(
        "XYScanNetP", "HanzhouLiu/XYScanNet", "ec43176b45", "models.XYScanNetP",
        f"m.XYScanNetP({_THREE})", published="m.XYScanNetP()", published_inputs=_LARGE,
        shells=("models",),
    ),
    Network(
        "RestorMixer", "ClimBin/RestorMixer", "e2c8d7e836", "model",
        "m.RestorMixer(num_res=[1, 1, 1], base_channel=16)", ((1, 3, 64, 64),),
        "m.RestorMixer()", _LARGE, roots=("model",),
    ),
    Network(
        "MTAIR", "12138-chr/MTAIR", "23f8a2d005", "net.my_model", f"m.MTAIR({_SMALL_U})",
        shells=("net",),
        reason="its file lacks the blocks of the network",
    ),
    Network(
        "UVM-Net", "zzr-idam/UVM-Net", "d3d70d8730", "model", "m.UNet(3)", ((1, 3, 256, 256),),
        published="m.UNet(3)", published_inputs=((1, 3, 256, 256),), roots=("Ultra/net",), cpu=True, compared=False,
    ),
    Network(
        "MambaLLIE", "wengjiangwei/MambaLLIE", "9c77bb5aba", "basicsr.archs.MambaLLIE_arch",
        "m.MambaLLIE(nf=8, embed_dim=8, img_size=16, depths=(1,) * 6)", ((1, 3, 16, 16),),
        "m.MambaLLIE()", _LARGE, shells=_BASICSR,
    ),
    Network(
        "DVMSR", "nathan66666/DVMSR", "86663ce906", "models.team07_DVMSR",
        "m.DVMSR(img_size=16, depths=[1, 1], embed_dim=12)", ((1, 3, 16, 16),),
        "m.DVMSR()", _PATCH, shells=("models",),
    ),
    Network(
        "IRSRMamba", "yongsongH/IRSRMamba", "5c1a2197b5", "basicsr.archs.irsrmamba_arch",
        f"m.IRSRMamba({_IR})", ((1, 3, 16, 16),), "m.IRSRMamba(upsampler='pixelshuffle')", _PATCH,
        shells=_BASICSR,
    ),
    Network(
        "Pan-Mamba", "alexhe101/Pan-Mamba", "ec1b9ead9a", "model.panmamba_baseline_finalversion",
        "m.Net()", ((1, 4, 8, 8), (1, 4, 8, 8), (1, 1, 32, 32)), "m.Net()",
        ((1, 4, 32, 32), (1, 4, 32, 32), (1, 1, 128, 128)), roots=("pan-sharpening",),
        shells=("model",), fork=_VIM, block="Mamba-block/mamba_simple.py",
        reason="written for 1024 x 1024 alone",
    ),
    Network(
        "MODEM", "hainuo-wang/MODEM", "736d4b0564", "basicsr.models.archs.modem_arch",
        "m.Modem(n_sr_blocks=[1] * 7)", ((1, 3, 32, 32),), "m.Modem()", _LARGE,
        shells=_BASICSR,
    ),
    Network(
        "SSUMamba", "lronkitty/SSUMamba", "49894dec98", "mamba.models.SSUMamba",
        "m.UMambaEnc(input_size=[8, 16, 16], n_stages=2, features_per_stage=[4, 8],"
        " kernel_sizes=[[3, 3, 3]] * 2, strides=[[1, 1, 1], [1, 2, 2]], n_conv_per_stage=[1, 1],"
        " n_conv_per_stage_decoder=[1], SSAS=['b c (t h w)', 'b c (h w t)'])", ((1, 8, 16, 16),),
        "m.UMambaEnc(input_channels=32, n_stages=6, input_size=[31, 64, 64], strides=[[1, 1, 1], [1, 2, 2]] * 3,"
        " num_classes=32, features_per_stage=[32, 64, 64, 128, 128, 256],"
        " kernel_sizes=[[1, 3, 3]] + [[3, 3, 3]] * 5, SSAS=['b c t h w', 'b c w t h', 'b c t w h',"
        " 'b c h w t', 'b c h t w', 'b c w h t'])", ((1, 31, 64, 64),), shells=("mamba", "mamba.models"),
        stubs=("tkinter", "mamba.models.layers", "mamba.models.base", "hydra", "hydra.utils", *_PLANS),
    ),
    Network(
        "RainMamba block", "TonyHongtaoWu/RainMamba", "2e7df7833a", "modules.mambablock",
        "m.MambaLayerglobal(8)", ((1, 4, 8, 8, 8),), "m.MambaLayerglobal(96)", ((1, 5, 96, 32, 32),),
        roots=("code/LWDDS",), shells=("modules",), fork="TonyHongtaoWu/RainMamba:mamba",
    ),
    Network(
        "VM-UNet", "JCruan519/VM-UNet", "43c495bfd0", "models.vmunet.vmunet",
        "m.VMUNet(depths=[1, 1, 1, 1], depths_decoder=[1, 1, 1, 1])", published="m.VMUNet()",
        published_inputs=((1, 3, 256, 256),), shells=("models", "models.vmunet"),
    ),
    Network(
        "H-vmunet", "wurenkai/H-vmunet", "f255cb446d", "models.H_vmunet", "m.H_vmunet()",
        ((1, 3, 64, 64),), "m.H_vmunet()", ((1, 3, 256, 256),), shells=("models",),
    ),
    Network(
        "UltraLight VM-UNet", "wurenkai/UltraLight-VM-UNet", "d7648e4ece",
        "models.UltraLight_VM_UNet", "m.UltraLight_VM_UNet()", ((1, 3, 64, 64),),
        "m.UltraLight_VM_UNet()", ((1, 3, 256, 256),), shells=("models",),
    ),
    Network(
        "MedMamba", "YubiaoYue/MedMamba", "104beb3d64", "MedMamba",
        f"m.VSSM(num_classes=5, {_SMALL_VSS})", published="m.VSSM(num_classes=6)", cpu=True,
    ),
    Network(
        "Mamba-UNet", "ziyangwang007/Mamba-UNet", "dfe92ba378", "networks.mamba_sys",
        "m.VSSM(depths=[1, 1, 1, 1])", ((1, 1, 32, 32),), "m.VSSM()", ((1, 1, 224, 224),),
        roots=("code",), shells=("networks",),
    ),
    Network(
        "VMamba v0", "MzeroMiko/VMamba", "2ed52ead06", "models.vmamba",
        f"m.VSSM({_SMALL_VSS}, forward_type='v0')", published="m.VSSM(forward_type='v0')",
        roots=("classification",), shells=("models",),
    ),
    Network(
        "VMamba v05_noz", "MzeroMiko/VMamba", "2ed52ead06", "models.vmamba",
        f"m.VSSM({_SMALL_VSS}, forward_type='v05_noz')",
        published="m.VSSM(depths=[2, 2, 8, 2], ssm_d_state=1, ssm_ratio=1.0, ssm_conv_bias=False,"
        " forward_type='v05_noz', downsample_version='v3', patchembed_version='v2', norm_layer='ln2d')",
        roots=("classification",), shells=("models",), cpu=True,
    ),
    Network(
        "VMamba m0_noz (Mamba-2)", "MzeroMiko/VMamba", "2ed52ead06", "models.vmamba",
        "m.VSSM(depths=[1, 1, 2, 1], dims=[16, 32, 64, 128], ssm_ratio=2.0, ssm_d_state=8,"
        " ssm_dt_rank=2, ssm_init='v2', forward_type='m0_noz')",
        published="m.VSSM(depths=[2, 2, 4, 2], ssm_ratio=1.0, ssm_d_state=64, ssm_dt_rank=48,"
        " ssm_init='v2', forward_type='m0_noz', downsample_version='v3', patchembed_version='v2', norm_layer='ln')",
        roots=("classification",), shells=("models",), cpu=True,
    ),
    Network(
        "VMamba single file", "MzeroMiko/VMamba", "2ed52ead06", "vmamba",
        f"m.VSSM({_SMALL_VSS}, forward_type='v05_noz')", published="m.vmamba_tiny_s1l8()",
    ),
    Network(
        "MambaVision-T", "NVlabs/MambaVision", "7860a506b2", "mambavision.models.mamba_vision",
        "m.MambaVision(dim=16, in_dim=8, depths=[1, 1, 2, 2], num_heads=[2, 2, 2, 2],"
        " window_size=[8, 8, 14, 7], mlp_ratio=4, num_classes=10)",
        ((1, 3, 64, 64),), "m.mamba_vision_T()", shells=("mambavision", "mambavision.models"),
    ),
    Network(
        "Vim tiny", "hustvl/Vim", "dd0358ad1e", "models_mamba",
        "m.VisionMamba(img_size=32, patch_size=8, stride=8, depth=2, embed_dim=16, num_classes=10,"
        " rms_norm=True, residual_in_fp32=True, fused_add_norm=True, final_pool_type='mean',"
        " if_abs_pos_embed=True, if_bidirectional=False, if_cls_token=True, bimamba_type='v2',"
        " if_divide_out=True, use_middle_cls_token=True)",
        published="m.vim_tiny_patch16_224_bimambav2_final_pool_mean_abs_pos_embed_with_midclstok_div2()",
        roots=("vim",), fork=_VIM,
    ),
    Network(
        "VideoMamba tiny", "OpenGVLab/VideoMamba", "f3427e42cb", "models.videomamba",
        "m.VisionMamba(img_size=32, patch_size=8, depth=2, embed_dim=16, num_classes=10, num_frames=2)",
        ((1, 3, 2, 32, 32),), "m.videomamba_tiny(num_frames=8)", ((1, 3, 8, 224, 224),),
        roots=("videomamba/video_sm",), shells=("models",), fork="OpenGVLab/VideoMamba:mamba",
    ),
    Network(
        "LocalVim tiny", "hunto/LocalMamba", "75e5d1f007", "lib.models.local_vim",
        "m.local_vim_tiny()", ((1, 3, 224, 224),), "m.local_vim_tiny()",
        roots=("classification",), shells=("lib", "lib.models"), fork="hunto/LocalMamba:mamba-1p1p1",
    ),
    Network(
        "LocalVMamba tiny", "hunto/LocalMamba", "75e5d1f007", "lib.models.local_vmamba",
        "m.local_vssm_tiny()", ((1, 3, 224, 224),), "m.local_vssm_tiny()",
        roots=("classification",), shells=("lib", "lib.models"), fork="hunto/LocalMamba:mamba-1p1p1",
    ),
    Network(
        "EfficientVMamba", "TerryPei/EfficientVMamba", "0bc5ee288b",
        "lib.models.mamba.efficient_mamba", "m.EfficientVSSM(depths=[1, 1, 1, 1], dims=16,"
        " downsample_version='v1')", ((1, 3, 64, 64),),
        "m.EfficientVSSM(dims=48, depths=[2, 2, 4, 2])", roots=("classification",),
        shells=("lib", "lib.models", "lib.models.mamba"),
    ),
    Network(
        "GroupMamba tiny", "Amshaker/GroupMamba", "c1800ed262", "groupmamba",
        "m.GroupMamba(stem_hidden_dim=8, embed_dims=[16, 32, 64, 128], depths=[1, 1, 1, 1],"
        " num_classes=10)", ((1, 3, 64, 64),), "m.groupmamba_tiny()",
        roots=("classification/models",),
    ),
    Network(
        "Spatial-Mamba", "EdwardChasel/Spatial-Mamba", "71221ebfaa", "spatialmamba",
        f"m.SpatialMamba({_SMALL_VSS})", roots=("classification/models",), cpu=True,
        reason="its own scan without C, for GPUs alone",
    ),
    Network(
        "MobileMamba", "lewandofskee/MobileMamba", "0980f48a23", "model.mobilemamba.mobilemamba",
        "m.MobileMamba(img_size=64, num_classes=10)", ((1, 3, 192, 192),), "m.MobileMamba()",
        ((1, 3, 192, 192),), shells=("model", "model.mobilemamba"), stubs=("util", "util.util", "model.lib_teacher"),
    ),
    Network(
        "PlainMamba L1", "ChenhongyiYang/PlainMamba", "0975a1d0d8",
        "plain_mamba_layer", "bind(m.PlainMamba2D(16, default_hw_shape=(8, 8)), hw_shape=(8, 8))",
        ((1, 64, 16),), "bind(m.PlainMamba2D(192, default_hw_shape=(14, 14)), hw_shape=(14, 14))",
        ((1, 196, 192),), roots=("mmcls/plain_mamba_dev/models/plain_mamba",), stubs=_MMCV,
    ),
    Network(
        "VSSD tiny (Mamba-2)", "YuHengsss/VSSD", "87b753b356", "mamba2",
        "m.VMAMBA2(img_size=64, num_classes=10, embed_dim=32, depths=[1, 1, 1, 1], num_heads=[1, 2, 4, 8], linear_attn_duality=False, attn_types=['mamba2'] * 4)",
        ((1, 3, 64, 64),), "m.VMAMBA2(depths=[2, 4, 8, 4])", roots=("classification/models",),
    ),
    Network(
        "MambaCD backbone", "ChenHongruixuan/MambaCD", "96c3240f0c", "models.vmamba",
        f"m.VSSM({_SMALL_VSS})", published="m.VSSM()", roots=("classification",), shells=("models",),
    ),
    Network(
        "Sigma tiny", "zifuwan/Sigma", "5c619c6b57", "models.encoders.dual_vmamba",
        "m.RGBXTransformer(depths=[1, 1, 1, 1], dims=16, img_size=[64, 64], pretrained=None)",
        ((1, 3, 64, 64), (1, 3, 64, 64)),
        "m.RGBXTransformer(depths=[2, 2, 9, 2], dims=96, pretrained=None, mlp_ratio=0.0, downsample_version='v1')",
        ((1, 3, 480, 640), (1, 3, 480, 640)), stubs=("engine", "engine.logger"),
        shells=("models", "models.encoders"),
    ),
    Network(
        "2DMamba", "AtlasAnalyticsLab/2DMamba", "9fe12aaa86", "models.MambaMIL",
        "m.MambaMIL(8, 2, False, 'gelu')", ((16, 8),), roots=("2DMambaMIL",), shells=("models",),
        reason="its own 2-D scan kernels",
    ),
    Network(
        "SegMamba", "ge-xing/SegMamba", "cff35970e0", "model_segmamba.segmamba",
        "m.SegMamba(in_chans=1, out_chans=2, depths=[1, 1, 1, 1])", ((1, 1, 32, 32, 32),), "m.SegMamba(in_chans=4, out_chans=4)",
        ((1, 4, 128, 128, 128),), fork="ge-xing/SegMamba:mamba",
    ),
    Network(
        "Swin-UMamba", "JiarunLiu/Swin-UMamba", "2c1f72e197", "nnunetv2.nets.SwinUMamba",
        "m.SwinUMamba(in_chans=1, out_chans=2)", ((1, 1, 64, 64),),
        "m.SwinUMamba(in_chans=1, out_chans=14)", ((1, 1, 320, 320),), roots=("swin_umamba",), shells=("nnunetv2", "nnunetv2.nets"), stubs=_PLANS,
    ),
    Network(
        "Swin-UMamba-D", "JiarunLiu/Swin-UMamba", "2c1f72e197", "nnunetv2.nets.SwinUMambaD",
        "m.SwinUMambaD(dict(in_chans=1, patch_size=4, depths=[1, 1, 2, 1], dims=16, drop_path_rate=0.2),"
        " dict(num_classes=2, deep_supervision=False, features_per_stage=[16, 32, 64, 128],"
        " drop_path_rate=0.2, d_state=16))",
        ((1, 1, 64, 64),),
        "m.SwinUMambaD(dict(in_chans=1, patch_size=4, depths=[2, 2, 9, 2], dims=96, drop_path_rate=0.2),"
        " dict(num_classes=14, deep_supervision=False, features_per_stage=[96, 192, 384, 768],"
        " drop_path_rate=0.2, d_state=16))", ((1, 1, 320, 320),),
        roots=("swin_umamba",), shells=("nnunetv2", "nnunetv2.nets"), stubs=_PLANS,
    ),
    *(
        Network(
            f"U-Mamba {kind} {d}d", "bowang-lab/U-Mamba", "28459e33ca", f"nnunetv2.nets.UMamba{kind}_{d}d",
            f"m.UMamba{kind}(" + ("" if kind == "Bot" else f"input_size={(32,) * d}, ")
            + f"input_channels=1, n_stages=3, features_per_stage=(8, 16, 32), conv_op=torch.nn.Conv{d}d,"
            f" kernel_sizes={[[3] * d] * 3}, strides={[[1] * d, [2] * d, [2] * d]}, " + _NNUNET_REST.format(d=d) + ")",
            ((1, 1, *(32,) * d),),
            f"m.UMamba{kind}(" + ("" if kind == "Bot" else f"input_size={_ABDOMEN[d][0]}, ")
            + f"input_channels=1, n_stages={len(_ABDOMEN[d][1])}, features_per_stage={_ABDOMEN[d][1]},"
            f" conv_op=torch.nn.Conv{d}d, kernel_sizes={[[3] * d] * len(_ABDOMEN[d][1])},"
            f" strides={_ABDOMEN[d][2]}, " + _NNUNET_REST.format(d=d) + ")",
            ((1, 1, *_ABDOMEN[d][0]),), roots=("umamba",), shells=("nnunetv2", "nnunetv2.nets"), stubs=_PLANS,
        )
        for d in (2, 3) for kind in ("Bot", "Enc")
    ),
    Network(
        "LightM-UNet", "MrBlankness/LightM-UNet", "6b72e27ba7", "nnunetv2.nets.LightMUNet",
        "m.LightMUNet(spatial_dims=2, init_filters=8, in_channels=1, out_channels=2,"
        " blocks_down=[1, 1, 1, 1], blocks_up=[1, 1, 1])", ((1, 1, 32, 32),),
        "m.LightMUNet(spatial_dims=3, init_filters=32, in_channels=4, out_channels=4,"
        " blocks_down=[1, 2, 2, 4], blocks_up=[1, 1, 1])", ((1, 4, 64, 64, 64),),
        roots=("lightm-unet",), shells=("nnunetv2", "nnunetv2.nets"), stubs=_PLANS,
    ),
    Network(
        "MambaHSI", "li-yapeng/MambaHSI", "4f559b74d2", "model.MambaHSI",
        "m.MambaHSI(in_channels=16, hidden_dim=16, num_classes=4)", ((1, 16, 16, 16),),
        "m.MambaHSI(in_channels=128, hidden_dim=128, num_classes=10)", ((1, 128, 128, 128),),
        shells=("model",),
    ),
    Network(
        "PixMamba", "weitunglin/pixmamba", "5ca4c93679", "models.pixmamba",
        "m.VSSM(depths=[1] * 3, dims=16, pixel_branch=True, pixel_block_num=1, pixel_bi_scan=False,"
        " pixel_d_state=12, bpe=True, bi_scan=True, final_refine=False, merge_attn=True,"
        " pos_embed=True, last_skip=True, patch_size=4, mamba_up=True, unet_down=False,"
        " unet_up=False, conv_down=False, no_act_branch=True)", ((1, 3, 64, 64),),
        "m.VSSM(depths=[1] * 3, dims=128, pixel_branch=True, pixel_block_num=2, pixel_bi_scan=False,"
        " pixel_d_state=12, bpe=True, bi_scan=True, final_refine=False, merge_attn=True,"
        " pos_embed=True, last_skip=False, patch_size=4, mamba_up=True, unet_down=False,"
        " unet_up=False, conv_down=False, no_act_branch=True)", ((1, 3, 256, 256),),
        roots=("classification",), shells=("models",),
    ),
    Network(
        "FusionMamba (PSRben)", "PSRben/FusionMamba", "6bd5cbd2c6", "model.u2net",
        "m.U2Net(dim=8, pan_dim=1, ms_dim=4, H=16, W=16)", ((1, 4, 4, 4), (1, 1, 16, 16)),
        "m.U2Net(dim=32, pan_dim=1, ms_dim=8)", ((1, 8, 16, 16), (1, 1, 64, 64)),
        shells=("model",), fork=_VIM, block="Mamba-block/mamba_simple.py",
    ),
    Network(
        "MambaDFuse", "Lizhe1228/MambaDFuse", "0c2a117e72", "models.network",
        "m.MambaDFuse(img_size=16, embed_dim=12, Ex_depths=[1], Fusion_depths=[1, 1], Re_depths=[1],"
        " Ex_num_heads=[2], Fusion_num_heads=[2, 2], Re_num_heads=[2])",
        ((1, 1, 16, 16), (1, 1, 16, 16)), "m.MambaDFuse()", ((1, 1, 64, 64), (1, 1, 64, 64)),
        shells=("models",), fork=_VIM, block="mamba_simple.py",
    ),
    Network(
        "zigma", "CompVis/zigma", "37d837bfb7", "model_zigma",
        "m.ZigMa(in_channels=4, embed_dim=16, depth=2, img_dim=8, device='cpu', scan_type='zigzagN8')",
        ((1, 4, 8, 8), (1,)),
        "m.ZigMa(in_channels=4, embed_dim=768, depth=24, img_dim=32, patch_size=1, use_pe=2, device='cpu', scan_type='zigzagN8')",
        ((1, 4, 32, 32), (1,)), cpu=True, stubs=("transformers", "transformers.generation", "transformers.utils", "transformers.utils.hub"),
    ),
    Network(
        "mamba.py (its CUDA path)", "alxndrTL/mamba.py", "2cc168c78b", "mambapy.mamba",
        "m.Mamba(m.MambaConfig(d_model=16, n_layers=2, use_cuda=True))", ((1, 32, 16),),
        "m.Mamba(m.MambaConfig(d_model=768, n_layers=24, use_cuda=True))", ((1, 256, 768),),
    ),
    Network(
        "UVM-Net block UVMB", "zzr-idam/UVM-Net", "d3d70d8730", "uvmb", "m.UVMB(c=4, w=16, h=16)",
        ((1, 4, 16, 16),), "m.UVMB(c=64, w=64, h=64)", ((1, 64, 64, 64),), roots=("Ultra/net",),
    ),
    Network(
        "VAMamba", "WaterHQH/VAMamba", "a449126050", "basicsr.archs.VAMamba_arch",
        "m.VAMamba(img_size=16, embed_dim=36, depths=(1, 1), upscale=1, score_map_patch_size=8)",
        ((1, 3, 16, 16),), "m.VAMamba(upscale=1)", _PATCH, shells=_BASICSR,
    ),
    Network(
        "FreMamba", "XY-boy/FreMamba", "dbfbc5f558", "model_archs.fremamba",
        "m.FreMamba(img_size=16, embed_dim=36, depths=(1, 1), upscale=2)", ((1, 3, 16, 16),),
        "m.FreMamba()", _PATCH, roots=("", "csguoh/MambaIR:"), shells=("model_archs", "basicsr"),
    ),
    Network(
        "HSRMamba", "Tomchenshi/HSRMamba", "bcd1355502", "HSRMamba",
        "m.HSRMamba(img_size=16, in_chans=8, embed_dim=16, depths=(1, 1), upsampler='pixelshuffle')", ((1, 8, 16, 16), (1, 8, 32, 32)),
        "m.HSRMamba(in_chans=31, upsampler='pixelshuffle')", ((1, 31, 32, 32), (1, 31, 64, 64)),
    ),
    Network(
        "MambaCSR", "renyulin-f/MambaCSR", "f71199e1f3", "basicsr.archs.mambacsr_arch",
        "m.MambaCSR(img_size=16, embed_dim=36, depths=(1, 1), mlp_ratio=2, upscale=2, upsampler='pixelshuffle')",
        ((1, 3, 16, 16),), "m.MambaCSR(mlp_ratio=2, upsampler='pixelshuffle')", _PATCH,
        roots=("basicsr/archs", ""), shells=_BASICSR,
    ),
    Network(
        "ColorMamba's MambaIR", "AlexYangxx/ColorMamba", "d1abb85d29", "models.mambair_arch",
        "m.MambaIR(img_size=16, embed_dim=16)", ((1, 16, 16, 16),), "m.MambaIR(img_size=64, embed_dim=64)",
        ((1, 64, 64, 64),), shells=("models",),
    ),
    Network(
        "VFIMamba", "MCG-NJU/VFIMamba", "8df805eb05", "config",
        "(lambda a, b: m.mamba_estimation(m.mamba_extractor(**a), **b))"
        "(*m.init_model_config(F=16, depth=[1, 1, 1, 1, 1]))", ((1, 6, 64, 64),),
        "(lambda a, b: m.mamba_estimation(m.mamba_extractor(**a), **b))"
        "(*m.init_model_config(F=16, depth=[2, 2, 2, 3, 3]))", ((1, 6, 256, 256),),
    ),
    Network(
        "Contrast", "Bezdarnost/Contrast", "64b1233574", "basicsr.archs.Contrast_baseline_arch",
        "m.Contrast_baseline_first(dims=60, depths=[1, 1], num_heads=[2, 2], window_size=8, upscale=2)", ((1, 3, 16, 16),),
        "m.Contrast_baseline_first()", _PATCH, roots=("baseline/Contrast",), shells=_BASICSR, cpu=True,
    ),
    Network(
        "KalmanIR's MambaIR, three branches", "chr56/KalmanIR", "216ff26ad4", "basicsr.archs.MambaIR_multi_branch_arch",
        "m.MultiBranchMambaIR(img_size=16, embed_dim=36, depths=(1, 1))", ((1, 3, 16, 16),),
        "m.MultiBranchMambaIR()", _PATCH, shells=_BASICSR,
    ),
)  # fmt: skip
