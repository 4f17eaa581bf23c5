"""The Python code behind a network: its weights alone do not tell what it computes."""

from __future__ import annotations

import hashlib
import sys
import sysconfig
from pathlib import Path

import torch
from torch import nn

PACKAGES = ("torch", "torchvision", "timm", "transformers")  # whose versions stand for their code


def code_sha256(module: nn.Module) -> str:
    """Hash of the code that may run in the module's forward pass, the same in every process that loads the same code.

    It covers the files of all loaded Python modules that are not installed, the versions of the installed packages of
    networks, and the generated code of exported or traced graphs.
    """
    digest = hashlib.sha256()
    for name in PACKAGES:
        if name in sys.modules:
            digest.update(f"{name} {getattr(sys.modules[name], '__version__', '')}\n".encode())
    for file in sorted(_own_files()):
        digest.update(file.encode("utf-8", "surrogateescape"))
        try:
            digest.update(Path(file).read_bytes())
        except OSError:  # removed since it was loaded
            digest.update(b"missing")
    for part in module.modules():
        if isinstance(part, torch.fx.GraphModule):
            digest.update(part.code.encode())
    return digest.hexdigest()


def _own_files() -> set[str]:
    """Source files of loaded modules outside the standard library, the installed packages and Phosphene."""
    installed = {*map(Path, sysconfig.get_paths().values()), Path(__file__).parents[1]}
    files = {file for module in list(sys.modules.values()) if isinstance(file := getattr(module, "__file__", None), str)}
    return {file for file in files if not installed & set(Path(file).parents)}
