"""What goes wrong: said at once where the request is wrong, said once and passed over where the training has begun."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import phosphene as ph
from phosphene.errors import ExtraError, UnknownNameError
from phosphene.pictures import contact_sheet
from phosphene.training import Callback, ClassModels, Shown
from phosphene.training.fluent import Ranks
from phosphene.training.guard import Hung, limited, untouched
from phosphene.training.schedule import Budget, Trigger
from phosphene.training.sinks import Animation, File

from . import small


def any_of(thing: Any) -> Any:
    """For requests that the types would refuse."""
    return thing


def trained(watch: Callback, **settings: Any) -> list[float]:
    with watch.for_loop() as loop:
        return small.by_hand(watch.net.module, loop, workers=0, **settings)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda net: ClassModels(net, targets=["rad"]), "no class 'rad'; nearest: red"),
        (lambda net: ClassModels(net, targets=[3]), "indices go from 0 to 2"),
        (lambda net: ClassModels(net, targets="red"), "a list of classes"),
        (lambda net: ClassModels(net, targets=[]), "a list of classes"),
        (lambda net: ClassModels(net, steps=0), "steps is 0"),
        (lambda net: ph.training.Objectives(net, "channel:nowhere:1"), "no layer 'nowhere'"),
        (lambda net: ph.training.Saliency(net, torch.rand(1, 3, 8, 8), "rad"), "no class or objective 'rad'"),
        (lambda net: ph.training.Saliency(net, torch.rand(1, 3, 8, 8), method="nothing"), "no method 'nothing'"),
        (lambda net: any_of(small.watch(net)).budget(2), "budget is 2"),
        (lambda net: any_of(small.watch(net)).on_ranks("some"), "ranks 'some'"),
        (lambda net: any_of(small.watch(net)).to_file("{clas}.png"), "no field 'clas'; nearest: class"),
        (lambda net: any_of(small.watch(net)).to_file("{class.__class__}.png"), "no field 'class.__class__'"),
        (lambda net: any_of(small.watch(net)).to_file("{epoch.png"), "pattern"),
        (lambda net: any_of(small.watch(net)).to_file("{class:d}.png"), "pattern"),
        (lambda net: any_of(small.watch(net)).to_file("picture"), "ends in one of .png"),
        (lambda net: any_of(small.watch(net)).to_animation("picture.png3"), "animation 'png3'"),
        (lambda net: any_of(small.watch(net)).to_animation("{epoch}.gif"), "no field 'epoch'"),
        (lambda net: any_of(small.watch(net)).to("paper"), "no sink 'paper'"),
        (lambda net: any_of(small.watch(net)).to(3), "sink is 3"),
        (lambda net: any_of(small.watch(net)).with_handler("print"), "handler is 'print'"),
        (lambda net: any_of(small.watch(net)).to_file("a.png").for_loop().__enter__(), "not told when"),
        (lambda net: any_of(small.watch(net)).on_val().for_loop().__enter__(), "not told where"),
        (lambda net: ClassModels(net, weights=any_of({})), "weights are {}"),
    ],
)
def test_a_wrong_request_is_refused_before_the_training(make: Callable[[ph.Network], Any], words: str) -> None:
    _, net = small.network()
    with pytest.raises((ValueError, UnknownNameError)) as refused:
        make(net)
    assert words in str(refused.value)


def test_many_classes_want_a_choice() -> None:
    with pytest.raises(ValueError, match="has 17 classes; say which"):
        ClassModels(ph.Network(small.Net(17), ph.Preprocess(size=8)))


def test_a_loss_that_is_nan_is_told_once_and_the_training_goes_on(tmp_path: Path) -> None:
    _, net = small.network()
    watch = small.watch(net).on_val().to_file(tmp_path / "{epoch}-{index}.png")
    with pytest.warns(RuntimeWarning, match=r"class models were not drawn at epoch 1, step 4: \S+ holds NaN") as told:
        losses = trained(watch, poison=5)
    assert len(losses) == 12
    assert torch.tensor(losses[6:]).isnan().all()
    assert len(told) == len(watch.problems) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0-0.png", "0-1.png", "0-2.png"]


def test_a_folder_that_cannot_be_written_is_told_once_for_each_sink(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file, where a folder is wanted: also root cannot write there")
    _, net = small.network()
    watch = (
        small.watch(net).on_val().to_file(tmp_path / "taken" / "{index}.png").to_animation(tmp_path / "taken" / "{index}.gif")
    )
    watch.to_file(tmp_path / "good{epoch}-{index}.png")
    with pytest.warns(RuntimeWarning, match="cannot be written") as told:
        assert len(trained(watch)) == 12
    assert len(told) == len(watch.problems) == 2
    assert len(list(tmp_path.glob("good*.png"))) == 9


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_told_once() -> None:
    def handler(shown: Shown) -> None:
        with open("/dev/full", "wb") as file:
            shown.image.save(file, "PNG")

    _, net = small.network()
    watch = small.watch(net).on_val().with_handler(handler)
    with pytest.warns(RuntimeWarning, match="No space left on device") as told:
        assert len(trained(watch)) == 12
    assert len(told) == 1


def test_a_sink_that_hangs_is_stopped_once_and_left_out(tmp_path: Path) -> None:
    calls: list[int] = []

    def handler(shown: Shown) -> None:
        calls.append(shown.moment.epoch)
        while True:
            try:
                threading.Event().wait()
            except Exception:
                pass

    _, net = small.network()
    watch = small.watch(net).on_val().with_handler(handler).to_file(tmp_path / "{epoch}-{index}.png")
    watch.sinks[0].longest = 0.1
    with pytest.warns(
        RuntimeWarning, match=r"Handled took over 0\.1 s and was stopped; the training goes on without it"
    ) as told:
        assert len(trained(watch)) == 12
    assert (len(told), calls) == (1, [0])
    assert len(list(tmp_path.glob("*.png"))) == 9


def test_a_limit_leaves_the_timer_and_the_handler_of_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    rung: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda *_: rung.append(1))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(Hung), limited(0.05):
            time.sleep(5)
        with limited(5):  # the program's own comes first
            time.sleep(0.4)
        assert rung == [1]
        signal.setitimer(signal.ITIMER_REAL, 100)
        with limited(5):
            pass
        assert 99 < signal.getitimer(signal.ITIMER_REAL)[0] <= 100
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_limit_does_nothing_in_another_thread() -> None:
    def late() -> bool:
        with limited(0.01):
            time.sleep(0.03)
        return True

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(late).result()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("error", [OSError, SystemExit])
def test_where_warnings_are_errors_the_training_goes_on_too(
    caplog: pytest.LogCaptureFixture, error: type[BaseException]
) -> None:
    def handler(shown: Shown) -> None:
        raise error("gone")

    _, net = small.network()
    watch = small.watch(net).on_val().with_handler(handler)
    assert len(trained(watch)) == 12
    assert "Handled failed: gone" in caplog.text


def test_ctrl_c_while_drawing_ends_the_training_and_keeps_what_was_drawn(tmp_path: Path) -> None:
    def handler(shown: Shown) -> None:
        if shown.moment.epoch == 2:
            raise KeyboardInterrupt

    _, net = small.network()
    watch = small.watch(net).on_val().to_animation(tmp_path / "{index}.gif").with_handler(handler)
    with pytest.raises(KeyboardInterrupt):
        trained(watch)
    with Image.open(tmp_path / "0.gif") as film:
        assert film.n_frames == 3  # type: ignore[attr-defined]


def test_one_animation_for_several_pictures_is_told() -> None:
    _, net = small.network()
    watch = small.watch(net).on_val().to("animation", "film.gif")
    with pytest.warns(RuntimeWarning, match=r"3 pictures for one animation; put \{class\} into its name"):
        trained(watch)


def test_the_guard_restores_random_numbers_also_when_we_raise() -> None:
    small.seed()
    expected = small.rng()
    small.seed()

    def draw() -> None:
        with untouched():
            random.seed(5)
            torch.rand(3)
            raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        draw()
    assert small.rng() == expected


class Clock:
    """Seconds that pass when we say so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_budget_is_a_share_of_the_time_of_training() -> None:
    clock = Clock()
    budget = Budget(0.05, clock)
    budget.start()
    clock.now = 100.0
    assert budget.allows(5.0)
    assert not budget.allows(5.1)
    with budget.spending():
        clock.now += 5.0
    assert budget.trained == 100.0
    assert not budget.allows(0.1)
    clock.now += 10.0
    assert budget.allows(0.5)
    assert Budget(None, clock).allows(1e9)


@pytest.mark.parametrize(
    ("epochs", "seconds", "drawn"),
    [
        (3, 1.6, [1, 2]),
        (5, 0.01, [1, 2, 3, 4, 5]),
        (20, 1.0, [1, 2, 4, 8, 16]),
        (60, 0.5, [1, 2, 3, 6, 12, 24, 48]),
        (4, 6.0, []),
    ],
)
def test_five_seconds_are_spread_over_a_training_of_any_length(epochs: int, seconds: float, drawn: list[int]) -> None:
    clock = Clock()
    budget, found = Budget(0.05, clock, floor=5.0), []
    budget.start()
    for epoch in range(1, epochs + 1):
        clock.now += 1.0
        if budget.allows(seconds):
            with budget.spending():
                clock.now += seconds
            budget.drew()
            found.append(epoch)
    assert found == drawn


def test_a_drawing_over_budget_is_put_off_and_the_last_made_up_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _, net = small.network()
    watch = small.watch(net).budget(0.01).on_val().to_file(tmp_path / "{epoch}-{index}.png")
    trained(watch)
    assert (watch.drawings, watch.put_off) == (1, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2-0.png", "2-1.png", "2-2.png"]
    assert "drawn 1 times, put off 3 times to stay within 1% of" in caplog.text


def test_minutes_and_runs() -> None:
    minutes, second = Trigger.of(("step",), "5 minutes"), Trigger.of(("val",), 2)
    step, val = (ph.training.Moment(event, 0, 1) for event in ("step", "val"))
    assert [minutes.due(step, now) for now in (0.0, 299.0, 301.0, 400.0, 601.0, 602.0)] == [
        False,
        False,
        True,
        False,
        True,
        False,
    ]
    assert [second.due(val, 0.0) for _ in range(4)] == [False, True, False, True]


def test_cache_and_grid(tmp_path: Path) -> None:
    _, net = small.network()
    watch = small.watch(net).on_val().cache(6).make_grid(columns=3).to_file(tmp_path / "{epoch}.png")
    trained(watch)
    assert watch.problems == []
    sizes = {}
    for path in tmp_path.iterdir():
        with Image.open(path) as image:
            sizes[path.name] = image.size
    assert set(sizes) == {"1.png", "2.png"}  # the rest of three is handed on at the end
    assert sizes["1.png"][0] == sizes["2.png"][0]
    assert sizes["1.png"][1] > sizes["2.png"][1]


def test_class_names_lead_to_no_other_folder_and_equal_names_are_told_apart(tmp_path: Path) -> None:
    folder = tmp_path / "inside"
    moment = ph.training.Moment("val", 0, 0)
    image = Image.new("RGB", (4, 4))
    names = ["../../up", "..", "/etc/passwd", "a/b", "a b", "\0"]
    File(folder / "{class}.png").take([Shown(image, name, i, "k", moment) for i, name in enumerate(names)])
    assert len(list(folder.iterdir())) == len(names)
    assert [path.name for path in tmp_path.iterdir()] == ["inside"]


def test_a_long_training_keeps_a_bounded_number_of_frames(tmp_path: Path) -> None:
    film = Animation(tmp_path / "film.gif", label=False)
    for epoch in range(600):
        image = Image.new("RGB", (2, 2), (epoch % 256, epoch // 256, 0))
        film.take([Shown(image, "a", 0, "k", ph.training.Moment("epoch", epoch, epoch))])
    kept = [np.asarray(frame)[0, 0].tolist() for frame in film._frames[tmp_path / "film.gif"]]
    epochs = [red + 256 * green for red, green, _ in kept]
    assert 128 <= len(epochs) <= 256
    gaps = {b - a for a, b in pairwise(epochs)}
    assert len(gaps) == 1
    assert epochs[0] == 0


def test_ranks_share_the_pictures(tmp_path: Path) -> None:
    """Two processes of a real group: by default the first draws, else each its part."""
    children = []
    for rank in range(2):
        if (child := os.fork()) == 0:
            os._exit(_drawn_on(rank, tmp_path))
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    first, shared = ([*sorted(path.name for path in tmp_path.glob(f"{which}-*"))] for which in ("first", "share"))
    assert first == ["first-0-0.png", "first-1-0.png", "first-2-0.png"]
    assert shared == ["share-0-0.png", "share-1-1.png", "share-2-0.png"]


RANKS: tuple[Ranks, Ranks] = ("first", "share")


def _drawn_on(rank: int, folder: Path) -> int:
    try:
        torch.distributed.init_process_group("gloo", init_method=f"file://{folder / 'meet'}", rank=rank, world_size=2)
        _, net = small.network()
        for which in RANKS:
            pattern = folder / f"{which}-{{index}}-{rank}.png"
            small.watch(net).on_ranks(which).on_val().to_file(pattern).for_loop().val()
        torch.distributed.destroy_process_group()
        return 0
    except BaseException:
        import traceback

        traceback.print_exc()
        return 1


def test_a_sink_without_its_library_says_what_to_install() -> None:
    from phosphene.training.sinks import needed

    with pytest.raises(ExtraError, match=r"this sink needs paper; pip install 'phosphene\[scissors\]'"):
        needed("there_is_no_such_module", "paper", "scissors")


def test_pyplot_shows_the_pictures() -> None:
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    _, net = small.network()
    watch = small.watch(net).on_val().to_pyplot("{class} {epoch}", show=False)
    watch.for_loop().val()
    assert watch.problems == []
    assert plt.gca().get_title() == "blue/../up 0"
    plt.close("all")


@pytest.mark.parametrize(("finished", "drawings"), [(True, 2), (False, 1)])
def test_what_was_put_off_is_not_made_up_for_where_the_training_broke_off(
    tmp_path: Path, finished: bool, drawings: int
) -> None:
    _, net = small.network()
    watch = small.watch(net).on_val().to_file(tmp_path / "{index}.png")
    loop = watch.for_loop()
    loop.val()
    watch.budget(1e-9)
    loop.val()
    assert (watch.drawings, watch.put_off) == (1, 1)
    watch.close(finished=finished)
    assert watch.drawings == drawings


def test_tiles_of_a_grid_name_their_step_where_there_are_several(monkeypatch: pytest.MonkeyPatch) -> None:
    sheets: list[list[tuple[str, ...]]] = []

    def noted(tiles: Sequence[contact_sheet.Tile], **_: Any) -> Image.Image:
        sheets.append([tile.lines for tile in tiles])
        return Image.new("RGB", (4, 4))

    monkeypatch.setattr(contact_sheet, "contact_sheet", noted)
    watch = small.watch(small.network()[1])
    one, two = (ph.training.Moment("val", 0, step) for step in (0, 7))
    for moments in ((one, one), (one, two)):
        watch._grid([Shown(Image.new("RGB", (4, 4)), "red", 0, "k", moment) for moment in moments])
    assert sheets == [[("red",)] * 2, [("red", str(one)), ("red", str(two))]]


def test_a_drawing_s_time_is_that_of_four_steps_and_of_each_further_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one step 1 s and of four 4 s: of eight 8 s. The first ascent of all, 9 s, warms up."""
    subject = small.watch(small.network()[1])
    clock = iter([0.0, 9, 10, 11, 20, 24])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(type(subject), "_rendered", lambda *_: None)
    subject._recipe = subject._recipe.replace(steps=8)
    assert subject.rehearse(subject.net, [0]) == pytest.approx(8)


@pytest.mark.parametrize(("event", "put_off"), [("step", 1), ("epoch", 1), ("val", 1), ("test", 0)])
def test_only_the_pictures_of_a_test_are_drawn_over_budget(tmp_path: Path, event: Any, put_off: int) -> None:
    watch = small.watch(small.network()[1]).on_val().to_file(tmp_path / "{index}.png")
    watch.for_loop().val()
    watch.budget(1e-9)
    watch._answer(ph.training.Moment(event, 0, 9))
    assert (watch.put_off, watch.drawings) == (put_off, 2 - put_off)
    watch.close(finished=False)
