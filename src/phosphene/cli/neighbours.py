"""`phosphene neighbours`: the pictures of a data set that are nearest to others, to the network and in pixels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import RequestError, shown
from . import options
from .photographs import as_option, photograph

if TYPE_CHECKING:
    from torch import Tensor

    from ..accumulate.feature_index import FeatureIndex
    from ..network.network import Network
    from ..pictures.data import Data

_MAPS = ("auto", "pca", "umap")


def neighbours(
    model: options.Model,
    data: Annotated[
        str | None,
        typer.Argument(metavar="DATA", help="A folder, a .csv or .parquet list, hf:NAME; not needed where --index is there."),
    ] = None,
    queries: Annotated[
        list[Path] | None, typer.Option("--query", metavar="PHOTO", help="A picture, of any size; may be repeated.")
    ] = None,
    k: Annotated[int, typer.Option("-k", metavar="N", help="How many neighbours.")] = 5,
    index: Annotated[
        str | None,
        typer.Option("--index", metavar="PATH", help="Where the features are kept: a folder or s3://…; OUT/features.lance."),
    ] = None,
    layer: Annotated[
        str | None, typer.Option("--layer", metavar="L", help="Whose features; what stands before the last linear layer.")
    ] = None,
    metric: Annotated[str | None, typer.Option("--metric", metavar="NAME", help="cosine or l2; cosine.")] = None,
    map_by: Annotated[
        str | None, typer.Option("--map", metavar="HOW", help="Also map.html, all pictures on a plane: pca, umap or auto.")
    ] = None,
    value_range: options.PictureRange = None,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Build the index again, also where it is there.")] = False,
    device: options.Device = None,
    out: options.Out = Path("out"),
) -> None:
    """Find neighbours: the pictures of a data set nearest to photographs in a layer's features, beside those in pixels.

    Example: phosphene neighbours -m demo:standard photos --query photo.jpg -k 5 -o out
    """
    black_white = options.range_of(value_range)
    _check(data, queries, k, index, map_by)
    net = options.opened(model, device)
    photos = {str(path): photograph(net, path, black_white) for path in queries or ()}

    from ..pictures.data import open_data
    from ..results.anatomy import PartFolder

    place = index or str(out / "features.lance")
    read = open_data(data, out, net.preprocess.bands, black_white) if data is not None else None
    told = {"data": data, "queries": list(photos), "k": k, "index": place, "layer": layer, "metric": metric, "map": map_by}
    told |= {"range": value_range} if value_range else {}
    try:
        kept = _index(net, read, place, layer, metric, rebuild)
    except KeyboardInterrupt as stop:
        typer.echo(f"interrupted: what is done is in index {place}; the same command goes on from there", err=True)
        raise typer.Exit(1) from stop
    run = PartFolder(
        out,
        command="neighbours",
        model={"ref": net.name, "sha256": kept.about["model"]["sha256"]},
        device=str(net.device),
        arguments=told | {"rebuild": rebuild},
        wanted=list(photos),
    )
    _answer(kept, run, photos, k, map_by)
    for note in kept.notes:
        typer.echo(f"note: {as_option(note)}", err=True)
    for refused in kept.refused[:5]:
        typer.echo(f"note: {refused.reason}", err=True)
    if len(kept.refused) > 5:
        typer.echo(f"note: {len(kept.refused)} items of {data} are no pictures (run.json lists them)", err=True)
    several = "" if len(photos) == 1 else "s"
    told_of = [f"the neighbours of {len(photos)} picture{several} among {len(kept):,}"] if photos else []
    told_of += ["map.html"] if map_by else []
    typer.echo(f"{', '.join(told_of)} and run.json are in {out}")


def _check(data: str | None, queries: list[Path] | None, k: int, index: str | None, map_by: str | None) -> None:
    """All that can be refused before the data are read."""
    from .. import checks
    from ..accumulate.feature_store import check_extra

    check_extra()
    checks.whole("-k", k, low=1, high=1000)
    if data is None and index is None:
        raise RequestError("among what? give DATA, a folder of pictures, or --index PATH of an index that is there")
    if not queries and map_by is None:
        raise RequestError("of what? give --query PHOTO, once or several times, or --map pca")
    if map_by is not None and map_by not in _MAPS:
        raise RequestError(f"--map {shown(map_by)}; one of {', '.join(_MAPS)} is needed")


def _index(net: Network, data: Data | None, place: str, layer: str | None, metric: str | None, rebuild: bool) -> FeatureIndex:
    """The index that stands there, or a new one."""
    from ..accumulate.feature_index import FeatureIndex
    from ..accumulate.feature_store import Store
    from .making import progress_bar

    if data is None or (not rebuild and Store.exists(place) and Store.open(place, half=True).complete):
        found = FeatureIndex.open(place, net)
        asked = {"layer": layer, "metric": metric, "data": None if data is None else data.identity}
        for word, value in asked.items():
            if value is not None and found.about.get(word) != value:
                raise RequestError(f"index {shown(place)} is of another {word}; --rebuild makes it again, --index another one")
        return found
    with progress_bar("pictures") as progress:
        task = progress.add_task("reading pictures", total=data.count)
        return FeatureIndex.build(
            net,
            data,
            place,
            layer=layer,
            metric=metric or "cosine",
            overwrite=rebuild,
            progress=lambda done: progress.advance(task, done),
        )


def _answer(kept: FeatureIndex, run: Any, photos: dict[str, Tensor], k: int, map_by: str | None) -> None:
    from ..accumulate.feature_quality import retrieval

    about = {word: kept.about[word] for word in ("layer", "dimension", "metric")}
    refused = [{"name": one.name, "reason": one.reason} for one in kept.refused]
    run.more["index"] = about | {"pictures": len(kept), "exact": kept.exact, "refused": refused}
    quality = retrieval(kept, k) if len(kept) > 1 else None
    if quality is not None:
        run.more["retrieval"] = quality.to_dict()
        typer.echo(f"labels: {quality}", err=True)
    for name, photo in photos.items():
        found = kept.query(photo, k, image=name, exclude=_itself(kept, name))
        run.add(found, asked=name)
        for note in found.notes:
            typer.echo(f"note: {name}: {note}", err=True)
    if map_by is not None:
        from ..accumulate.feature_plane import feature_map

        made = feature_map(kept, method=map_by)
        run.more["map"] = made.to_dict() | {"file": made.save(run.path).name, "array": "map.npy"}
        for note in made.notes:
            typer.echo(f"note: map: {note}", err=True)
    run.write()


def _itself(kept: FeatureIndex, name: str) -> list[str]:
    """The ids under which the query's own file is in the index."""
    own = Path(name).resolve()
    paths = ((i, path) for rows in kept.rows(("id", "path")) for i, path in zip(rows["id"], rows["path"], strict=True))
    return [i for i, path in paths if path is not None and "://" not in path and Path(path).resolve() == own]
