"""Random numbers that belong to items, and a guard for the random numbers of the user.

A stream is named by (seed, what it is for, whose it is), so that an item's numbers do not depend on its neighbours,
on their order, on the process or on what ran before.
"""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode


def stream_seed(seed: int, *names: str) -> int:
    """A 63-bit seed from a seed and names; different names give unrelated streams.

    >>> stream_seed(0, "view", "logit:3") == stream_seed(0, "view", "logit:3")
    True
    """
    text = "\0".join((str(seed), *names)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


def stream(seed: int, *names: str) -> torch.Generator:
    """A generator on the CPU: its numbers are the same whatever the device of the network."""
    return torch.Generator().manual_seed(stream_seed(seed, *names))


@contextmanager
def private_rng(seed: int) -> Iterator[None]:
    """Inside, the global generators start from `seed`; outside, they are as they were, also when we raise.

    For code that is not ours and may draw from any global generator or seed one: factories that make weights, Captum. Those
    generators belong to the process, so one thread at a time is inside. See `Injected` for what disturbs no other thread.
    """
    with _swapping:
        numbers = GlobalNumbers()
        try:
            random.seed(seed)
            np.random.seed(seed % 2**32)
            torch.manual_seed(seed)
            yield
        finally:
            numbers.put_back()


_swapping = threading.RLock()


class GlobalNumbers:
    """The state of the global generators of Python, NumPy and torch, as it is now."""

    def __init__(self) -> None:
        self._python, self._numpy = random.getstate(), np.random.get_state()
        self._seed = torch.initial_seed()
        self._torch, self._gpus = torch.get_rng_state(), [torch.cuda.get_rng_state(gpu) for gpu in _started_gpus()]

    def changed(self) -> bool:
        """Whether numbers were drawn since, or a seed was set."""
        now = GlobalNumbers()
        return now._python != self._python or any(
            not np.array_equal(a, b) for a, b in zip(now._numbers(), self._numbers(), strict=False)
        )

    def reseeded(self) -> bool:
        """Whether torch's generator was given another seed since."""
        return torch.initial_seed() != self._seed

    def put_back(self) -> None:
        random.setstate(self._python)
        np.random.set_state(self._numpy)
        torch.set_rng_state(self._torch)
        for gpu, state in enumerate(self._gpus):
            torch.cuda.set_rng_state(state, gpu)

    def _numbers(self) -> list[Any]:
        return [*self._numpy, self._torch.numpy(), *(state.numpy() for state in self._gpus)]


class Injected(TorchDispatchMode):
    """While active in a thread, torch's draws without a generator take their numbers from generators of its own.

    The global generators are neither read nor changed, so other threads' numbers stay what they are. The numbers are those
    that the global generator of the device would give after `torch.manual_seed(seed)`. `drew` tells whether any were drawn.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # not annotated in torch
        self._seed = seed
        self._generators: dict[torch.device, torch.Generator] = {}
        self.drew = False

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """False: torch else imports its compiler, which takes seconds, to keep it away from `__torch_dispatch__`."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        if torch.Tag.nondeterministic_seeded not in func.tags or given.get("generator") is not None:
            return func(*args, **given)
        overload, dropout = _overload(func), func is torch.ops.aten.native_dropout.default
        if overload is None and not dropout:
            if func.has_kernel_for_dispatch_key(torch._C.DispatchKey.CompositeImplicitAutograd):
                with self:  # made of other operations, as dropout is: one of those takes a generator
                    return func.decompose(*args, **given)
            return func(*args, **given)  # attention, which draws for its dropout alone: `GlobalNumbers` tells if it did
        self.drew = True
        generator = self._generator(_device(args, given))
        if dropout:
            return _dropout(generator, *args)
        return overload(*args, **{**given, "generator": generator})

    def _generator(self, device: torch.device) -> torch.Generator:
        if device not in self._generators:
            self._generators[device] = torch.Generator(device).manual_seed(self._seed)
        return self._generators[device]


def _device(args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.device:
    """Where a random operation computes: where its first tensor is, else where it is asked to put its result."""
    tensor = next((arg for arg in args if isinstance(arg, torch.Tensor)), None)
    return torch.device(kwargs.get("device") or "cpu") if tensor is None else tensor.device


def _overload(func: Any) -> Any:
    """The overload of a random operation that takes a generator beside the same arguments."""
    names = [argument.name for argument in func._schema.arguments]
    if "generator" in names:
        return func
    for name in func.overloadpacket.overloads():
        overload = getattr(func.overloadpacket, name)
        others = [argument.name for argument in overload._schema.arguments]
        if "generator" in others and [other for other in others if other != "generator"] == names:
            return overload
    return None


def _dropout(generator: torch.Generator, x: torch.Tensor, p: float, train: bool | None) -> tuple[torch.Tensor, torch.Tensor]:
    """`native_dropout`, which takes no generator: what is kept, scaled, and the mask."""
    if train is False or p == 0:
        return x.clone(), torch.ones_like(x, dtype=torch.bool)
    mask = torch.empty_like(x).bernoulli_(1 - p, generator=generator)
    return x * mask * (0.0 if p == 1 else 1 / (1 - p)), mask.bool()


def _started_gpus() -> list[int]:
    return list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
