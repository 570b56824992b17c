#!/usr/bin/env bash
# safetensors 0.8.0: `safe_open` takes a file's name for NumPy and refuses the same for PyTorch.
#
# On Linux a name is bytes. Python gives those that are not UTF-8 as surrogates (PEP 383); `open`,
# `os.stat` and `safe_open(…, "np")` take them. `safe_open(…, "pt")` wants UTF-8, since it hands
# the path to torch as text.
#
# Seen: np: (2,); pt: SafetensorError, "Path … is not valid UTF-8"; pt through a link: (2,)
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install torch==2.13.0 numpy==2.2.6 safetensors==0.8.0
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import os
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save

name = Path(os.fsdecode(b"caf\xe9.safetensors"))
name.write_bytes(save({"a": np.zeros(2, np.float32)}))
with safe_open(name, framework="np") as file:
    print("np:", file.get_tensor("a").shape)
refused = ""
try:
    with safe_open(name, framework="pt") as file:
        file.get_tensor("a")
except Exception as error:
    refused = str(error)
    print(f"pt: {type(error).__name__}: {refused!r}")
Path("link.safetensors").symlink_to(name)
with safe_open("link.safetensors", framework="pt") as file:
    print("pt through a link:", tuple(file.get_tensor("a").shape))
assert "UTF-8" in refused, "safetensors takes such names for PyTorch, too"
PY
