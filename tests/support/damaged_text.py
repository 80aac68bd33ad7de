"""Text files with bytes that are not what they were."""

import random


def damaged(draw: random.Random, content: bytes) -> bytes:
    """Bytes flipped, cut out, swapped or repeated."""
    data = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 8, 40))):
        if not data:
            break
        a, b = sorted((draw.randrange(len(data)), draw.randrange(len(data))))
        span = draw.randrange(1, 40)
        kind = draw.randrange(5)
        if kind == 0:
            data[a] ^= 1 << draw.randrange(8)
        elif kind == 1:
            del data[a : a + span]
        elif kind == 2:
            data[a : a + span], data[b : b + span] = data[b : b + span], data[a : a + span]
        elif kind == 3:
            data[a:a] = data[b : b + span]
        else:
            data[a] = draw.choice(b"0123456789-.e \n#:x\xff")
    return bytes(data[: draw.randrange(len(data) + 1)] if draw.random() < 0.05 else data)
