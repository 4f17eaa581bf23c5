"""`render`: the verb. Checks the request once, cuts it into batches, gives Renderings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from .. import checks, registry
from ..ambient import shielded
from ..errors import Interrupted, RequestError, shown
from ..network.compiling import Compile
from ..network.network import Network, is_out_of_memory
from ..network.prepared import Precision
from ..objectives.spec import Meant, listed
from ..results import door
from ..results.kinds import Rendering, join
from .batches import Pace, TooLong
from .canvases import Canvas
from .job import Job, sides
from .judges import check_judges
from .naturalness import knows_photographs
from .observers import FRAMES, Observer
from .priors import Prior
from .projections import Projection
from .recipe import NATURAL_FROM, SMALLEST, Optimiser, Recipe, find_recipe
from .starts import best
from .views import View


@shielded
@door.takes(
    net=door.network,
    objectives=door.objectives,
    priors=door.several,
    projections=door.several,
    views=door.several,
    judges=door.networks,
    observers=door.observers,
)
def render(
    net: Network,
    objectives: Meant | Sequence[Meant],
    *,
    recipe: str | Recipe = "auto",
    size: int | tuple[int, int] | None = None,
    steps: int | None = None,
    lr: float | None = None,
    optimiser: Optimiser | None = None,
    canvas: Canvas | None = None,
    priors: Sequence[Prior] | None = None,
    projections: Sequence[Projection] | None = None,
    views: Sequence[View] | None = None,
    seed: int = 0,
    seeds: int = 1,
    starts: int = 1,
    judges: Sequence[Network] = (),
    batch: int | None = None,
    frames: int = FRAMES,
    precision: Precision = "auto",
    compile: Compile = "auto",
    observers: Sequence[Observer] = (),
) -> Rendering:
    """Pictures that make the objectives large: argmax over pictures of objective − penalties, one picture per objective.

    objectives   one or several, as objects or texts: `ph.logit("cat")`, "channel:stage3.0:5"
    recipe       a name, or a Recipe; "auto" is the best for the size. What follows replaces its settings
    size         (height, width) or one side, in pixels; None: the network's own
    seed         of every random number; an item's numbers depend on the seed and its objective alone, so a picture is the
                 same alone or among others (up to the last bits of floating point, which depend on the batch size)
    seeds        pictures of each objective, of the seeds seed, seed + 1, …; a recipe with diversity keeps them apart
    starts       each picture is drawn from so many seeds, seed, seed + 1, …, and the one is kept whose objective, less the
                 recipe's penalty on layer statistics, is largest on average over random views
    judges       other networks: of the starts of a class the one is kept of whose class they are surest
    batch        pictures at once; None: what the hardware likes and its free memory holds. Running out of it halves the batch
                 and goes on
    frames       pictures of the ascent that are kept for an animation; fewer where 256 MiB would be passed
    precision    "full": as the network is; "half": bfloat16; "auto": bfloat16 where the hardware computes it natively and the
                 picture has 96 px or more. Scores that are told are always of full precision
    compile      "on", "off", or "auto": torch.compile on a GPU, where the first steps show that what is left repays it. What
                 cannot be compiled, and whatever reads the statistics of layers, is drawn without; the record's environment
                 tells which
    observers    told of every step

    The module is left as it was, weights get no gradients, global random numbers are not used. Also under `no_grad`.
    Ctrl-C raises Interrupted, a KeyboardInterrupt: `partial` is a Rendering of the finished pictures, those that had converged
    among them; `unfinished` is one of the pictures that were being rendered, each with a note of the step it had reached.

    Source: Erhan et al. 2009 for units; Simonyan, Vedaldi & Zisserman 2013, §2 for classes.

    >>> import phosphene as ph
    >>> r = ph.render(ph.load("demo:robust"), "logit:cat", steps=2)
    >>> r.pictures.shape, r.history.shape
    (torch.Size([1, 3, 32, 32]), torch.Size([2, 1]))
    """
    changes: dict[str, object] = {"steps": steps, "lr": lr, "optimiser": optimiser, "canvas": canvas}
    groups = {"priors": priors, "projections": projections, "views": views}
    changes |= {name: None if members is None else tuple(members) for name, members in groups.items()}
    chosen = settle(net, recipe, size, **changes)
    parts: list[Rendering] = []
    unfinished: Rendering | None = None
    try:
        for part in stream_renderings(
            net,
            objectives,
            chosen,
            size=size,
            seed=seed,
            seeds=seeds,
            starts=starts,
            judges=judges,
            batch=batch,
            frames=frames,
            precision=precision,
            compile=compile,
            observers=observers,
        ):
            parts.append(part)
    except KeyboardInterrupt as stop:
        if isinstance(stop, Interrupted) and stop.partial is not None:
            ended = [i for i, item in enumerate(stop.partial.items) if item.finished]
            rest = [i for i, item in enumerate(stop.partial.items) if not item.finished]
            parts += [stop.partial.chosen(ended)] if ended else []
            unfinished = stop.partial.chosen(rest) if rest else None
        raise Interrupted(join(parts) if parts else None, unfinished) from stop
    return join(parts)


def settle(net: Network, recipe: str | Recipe, size: int | tuple[int, int] | None, **changes: object) -> Recipe:
    """The recipe for this network and size, with what was changed."""
    h, w = sides(net, size)
    if not isinstance(recipe, Recipe | str):
        raise RequestError(f"recipe must be a Recipe or its name, got {shown(recipe)}")
    if isinstance(changes.get("canvas"), str):
        changes["canvas"] = registry.find("canvases", str(changes["canvas"]))()
    if recipe == "auto" and SMALLEST <= min(h, w) < NATURAL_FROM and knows_photographs(net, (h, w)):
        recipe = "natural"
    if not isinstance(recipe, Recipe):
        recipe = find_recipe(recipe, (net.preprocess.channels, h, w), net.statistics is not None)
    return recipe.replace(**changes)


def stream_renderings(
    net: Network,
    objectives: Meant | Sequence[Meant],
    recipe: Recipe,
    *,
    size: int | tuple[int, int] | None = None,
    seed: int | Sequence[int] = 0,
    seeds: int = 1,
    starts: int = 1,
    judges: Sequence[Network] = (),
    batch: int | None = None,
    frames: int = FRAMES,
    precision: Precision = "auto",
    compile: Compile = "auto",
    observers: Sequence[Observer] = (),
    sha256: str | None = None,
    seconds: float | None = None,
) -> Stream:
    """As `render`, a batch at a time: what is finished can be saved before the rest begins. The request is checked now.

    seed    of the first picture of each objective; or one seed for every objective, of which neighbours that are equal are
            then one group
    sha256  of the network, where it is known already
    seconds  that a batch may take, where no `batch` is given: the first steps are timed, and batches made smaller if need be
    """
    several = listed(objectives)
    if isinstance(seed, Sequence):
        own = [checks.seed(one) for one in seed]
        together = len(several) // max(len({str(one) for one in several}), 1)
    else:
        together = checks.whole("seeds", seeds, low=1, high=1024) * checks.whole("starts", starts, low=1, high=1024)
        if seeds > 1 and starts > 1:
            raise RequestError(f"starts {starts} with seeds {seeds}; one or the other is needed")
        own = [checks.seed(checks.seed(seed) + k) for _ in several for k in range(together)]
        several = [one for one in several for _ in range(together)]
    job = Job.of(
        net,
        several,
        recipe,
        size=sides(net, size),
        seeds=own,
        together=together,
        frames=frames,
        precision=precision,
        compile=compile,
        observers=observers,
        sha256=sha256,
    )
    at_once = None if batch is None else checks.whole("batch", batch, low=1)
    check_judges(judges, job, starts)
    return Stream(job, starts, at_once, seconds, judges=tuple(judges))


@dataclass
class Stream:
    """The Renderings of a checked request, one batch after another, rendered while they are iterated over.

    starts   pictures rendered of each objective, of which one is kept
    judges   networks that say which
    batch    batch size (default: what the hardware likes, memory holds and takes no longer than `seconds`)
    sizes    sizes of the batches so far. To resume an earlier call give its sizes: the last bits of a picture depend on the
             size of its batch
    done     pictures to leave out, counted from 0 in the order of the request. A batch of such pictures alone is skipped
    """

    job: Job
    starts: int = 1
    batch: int | None = None
    seconds: float | None = None
    sizes: list[int] = field(default_factory=list)
    done: frozenset[int] = frozenset()
    judges: tuple[Network, ...] = ()

    def __iter__(self) -> Iterator[Rendering]:
        rows = [row for row in range(len(self.job.items)) if row // self.starts not in self.done]
        batches = self._batches(frozenset(rows))
        return best(self.job, batches, self.starts, rows, self.judges) if self.starts > 1 else batches

    def _batches(self, rows: frozenset[int]) -> Iterator[Rendering]:
        """The pictures of these rows, each rendered in the batch that it has in an uninterrupted call."""
        job, first, made = self.job, 0, 0
        least = job.least
        at_once = self.batch or (self.sizes[-1] if self.sizes else job.batch)
        seconds = None if self.batch or self.sizes else self.seconds
        while first < len(job.items):
            at_once = max(at_once // least, 1) * least
            count = self.sizes[made] if made < len(self.sizes) else min(at_once, len(job.items) - first)
            wanted = [row - first for row in range(first, first + count) if row in rows]
            try:
                part = job.run(first, count, [Pace(seconds)] if seconds and count > least else []) if wanted else None
            except TooLong as stop:
                at_once, seconds = -(-count // -(-count // stop.fits)), None
                continue
            except Interrupted as stop:
                if made == len(self.sizes) and any(item.finished for item in stop.partial.items):
                    self.sizes.append(count)  # else the next call may find a better size
                raise Interrupted(stop.partial.chosen(wanted)) from stop
            except Exception as error:
                if not is_out_of_memory(error) or count <= least:
                    raise
                at_once = count // 2
                del self.sizes[made:]
                continue
            first, made, seconds = first + count, made + 1, None
            if made > len(self.sizes):
                self.sizes.append(count)
            if part is not None:
                yield part if len(wanted) == count else part.chosen(wanted)
