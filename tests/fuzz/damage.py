"""Bytes and texts, damaged at places that a seed draws."""

from __future__ import annotations

import random


def damaged(content: bytes, draw: random.Random) -> bytes:
    """Cut off, or with bits flipped, bytes replaced, taken out, put in or doubled; most often near the beginning."""
    data = bytearray(content)
    for _ in range(draw.randrange(1, 5)):
        if not data:
            break
        at = min(int(len(data) * draw.random() ** draw.choice((1, 3))), len(data) - 1)
        some = draw.randrange(1, 9)
        match draw.randrange(7):
            case 0:
                del data[at:]
            case 1:
                data[at : at + some] = draw.randbytes(some)
            case 2:
                del data[at : at + some]
            case 3:
                data[at:at] = draw.randbytes(some)
            case 4:
                data[at:at] = data[at : at + 4 * some]
            case 5:
                data[at : at + some] = bytes([draw.choice((0, 255))]) * some
            case _:
                data[at] ^= 1 << draw.randrange(8)
    return bytes(data)
