"""`phosphene doctor`: what works with a network, and why not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options

if TYPE_CHECKING:
    from ..network.network import Network

_SIGNS = {"yes": "✓", "partly": "~", "no": "✗"}


def doctor(
    model: options.Model,
    photo: Annotated[
        Path | None, typer.Argument(metavar="[PHOTO]", help="A picture to classify, to see whether it is seen right.")
    ] = None,
    as_json: options.Json = False,
    device: options.Device = None,
) -> None:
    """Say what works with a network and why not; with a photograph, also what the network takes it for.

    Exit status 1 if something does not work. Example: phosphene doctor -m torchvision:resnet18?weights=none
    """
    net = options.opened(model, device)

    from ..network.diagnosis import diagnose

    top = _top(net, photo) if photo else []
    findings = list(diagnose(net))
    if as_json:
        typer.echo(
            json.dumps({"findings": [finding.to_dict() for finding in findings], "top": top}, indent=1, ensure_ascii=False)
        )
    else:
        from .tables import print_table

        print_table(("", net.name, ""), ((_SIGNS[f.verdict], f.question, f.detail) for f in findings))
        for place in top:
            typer.echo(f"{place['probability']:7.1%}  {place['class']}  (score {place['score']:.2f})")
    raise typer.Exit(1 if any(finding.verdict == "no" for finding in findings) else 0)


def _top(net: Network, photo: Path) -> list[dict[str, float | str]]:
    from .photographs import photograph

    scores = net.scores(net.preprocess.fit(photograph(net, photo)))[0]
    certain = net.probabilities(scores)
    best = scores.topk(min(5, len(scores))).indices.tolist()
    return [{"class": net.classes[i], "probability": float(certain[i]), "score": float(scores[i])} for i in best]
