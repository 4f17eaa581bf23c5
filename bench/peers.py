"""Class models as two peers draw them with their own defaults, of a module that takes pictures in [0, 1].

Both are installed apart, in a folder each of which `--site` names: torch-lucent 0.1.8 asks for kornia 0.4.1 or older, on whose
functions its default pipeline depends.

    pip install --no-deps --target peers torch-lucent kornia==0.4.1 future decorator ipython torchbearer

ipython's own requirements are those of the environment, or are installed there too.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


class FromPictures(nn.Module):
    """A network with its preprocessing before it: neither peer knows a network's own mean and standard deviation."""

    def __init__(self, module: nn.Module, forward: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.module, self._forward = module, forward

    def forward(self, pictures: Tensor) -> Tensor:
        scores: Tensor = self.module(self._forward(pictures))
        return scores


def torchbearer(module: nn.Module, indices: Sequence[int], size: int, steps: int = 256, device: str = "cpu") -> Tensor:
    """ClassAppearanceModel with its defaults (Adam at 0.5, 256 steps, decay 0.01), as a callback of a trial of one batch."""
    from torchbearer import Trial
    from torchbearer.callbacks.imaging import ClassAppearanceModel

    batch = torch.zeros(1, 3, size, size), torch.zeros(1, dtype=torch.long)
    drawn: list[Tensor] = []
    for index in indices:
        callback = ClassAppearanceModel(1000, (3, size, size), target=index, steps=steps).on_val()
        callback.with_handler(lambda image, *_: drawn.append(image.detach().clone()))
        trial = Trial(module, callbacks=[callback]).with_val_data(*batch, num_workers=0).to(device)
        trial.evaluate(verbose=0)
    return torch.stack(drawn)


def lucent(module: nn.Module, indices: Sequence[int], size: int, steps: int = 512) -> Tensor:
    """render_vis with its defaults (Fourier, decorrelated, Adam at 0.05, 512 steps, its transforms), at the network's size."""
    from lucent.optvis import param, render

    drawn = []
    for index in indices:
        quiet = {"show_image": False, "progress": False}
        images = render.render_vis(
            module, f"labels:{index}", lambda: param.image(size), thresholds=(steps,), preprocess=False, **quiet
        )
        drawn.append(torch.from_numpy(images[-1][0]).movedim(-1, 0).float())
    return torch.stack(drawn)


PEERS = {"torchbearer": torchbearer, "lucent": lucent}

# By the name of the distribution: what is imported.
MODULES = {
    "torchbearer": "torchbearer",
    "torch-lucent": "lucent.optvis.render",
    "captum": "captum.attr",
    "grad-cam": "pytorch_grad_cam",
    "torchcam": "torchcam.methods",
}


def missing(peer: str) -> str:
    """Why a peer of MODULES cannot be run here; "" where it can."""
    try:
        importlib.import_module(MODULES[peer])
    except ImportError as error:
        return f"{peer} is not installed" if error.name == MODULES[peer].partition(".")[0] else f"{peer} does not import"
    return ""
