"""Parts of clips, and batches that should be the same."""

from dataclasses import replace

import torch

LENGTHS = (150, 11, 10, 60, 33, 95)


def part(clip, frames):
    cut_state = clip.state.map(lambda x: x[:frames])
    return replace(clip, state=cut_state, contacts=clip.contacts[:frames], keypoints=clip.keypoints[:frames])


def assert_same(one, other, tolerance=0.0):
    assert one.gender == other.gender
    for name in ("past", "current", "world"):
        states = getattr(one, name), getattr(other, name)
        if states[0] is None:
            assert states[1] is None
            continue
        vectors = [state.to_vector() for state in states]
        torch.testing.assert_close(*vectors, atol=tolerance, rtol=0)
    torch.testing.assert_close(one.contacts, other.contacts, atol=0, rtol=0)
    torch.testing.assert_close(one.betas, other.betas, atol=0, rtol=0)
