"""Measures of motion are those that loops over joints and frames find."""

import itertools
import math

import pytest
import torch

from humor.motion.metrics import (
    PENETRATION_CM,
    Means,
    contact_accuracies,
    find_standing,
    joint_distances,
    plausibility,
    sample_measures,
    sliding_speeds,
)


def random(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(len(shape)))


def distance(a, b):
    return 1000 * math.dist(a.tolist(), b.tolist())


def test_distances_are_of_all_joints_of_end_effectors_and_of_legs():
    joints, truth = random(2, 3, 22, 3), 2 * random(2, 3, 22, 3)
    found = joint_distances(joints, truth)
    groups = {"joints_mm": range(22), "end_effectors_mm": (7, 8, 10, 11, 20, 21), "legs_mm": (4, 5, 7, 8, 10, 11)}
    assert set(found) == set(groups)
    for name, group in groups.items():
        expected = [[[distance(joints[b, t, j], truth[b, t, j]) for j in group] for t in range(3)] for b in range(2)]
        torch.testing.assert_close(found[name], torch.tensor(expected, dtype=torch.float64))


def test_acceleration_of_motion_at_constant_acceleration():
    time = torch.arange(7, dtype=torch.float64)[:, None, None] / 30
    pull = random(22, 3)
    found = plausibility(time.square() * pull / 2 + time * random(22, 3))["acceleration"]
    torch.testing.assert_close(found, torch.linalg.vector_norm(pull, dim=-1).expand(5, 22))


@pytest.mark.parametrize(
    ("heights", "depths"),  # metres above the floor of left and right toe bases; how deep those below it are, mm
    [([(0.1, 0.0)], []), ([(-0.02, 0.3)], [20]), ([(-0.05, -0.2), (0.01, -0.1301)], [50, 200, 130.1])],
)
def test_toes_below_the_floor_are_counted_at_six_depths(heights, depths):
    joints = torch.zeros(len(heights), 22, 3)
    joints[:, :, 2] = -7  # other joints do not count
    joints[:, 10:12, 2] = torch.tensor(heights)
    found = plausibility(joints)
    assert found["penetration_mm"].tolist() == pytest.approx(depths, rel=1e-5)
    for cm in PENETRATION_CM:
        wanted = [[height < -cm / 100 for height in frame] for frame in heights]
        assert found[f"toes_below_{cm}cm"].tolist() == wanted
    assert PENETRATION_CM == (0, 3, 6, 9, 12, 15)


def test_only_toes_on_the_floor_slide():
    joints = torch.zeros(3, 22, 3, dtype=torch.float64)
    joints[:, 10] = torch.tensor([[0, 0, 0.01], [0.03, 0.04, 0.03], [1, 1, 0.05]])  # the left one, lifted in the end
    joints[:, 11] = torch.tensor([[0, 0, 0.1], [1, 0, 0.01], [1, 0.02, 0.0]])  # the right one, set down
    assert sliding_speeds(joints).tolist() == pytest.approx([0.05 * 30, 0.02 * 30])


@pytest.mark.parametrize(
    ("lean", "toe", "stands"),  # degrees, metres above the floor
    [
        *((0, 0, True), (0, 0.4, True), (55, 0, True), (65, 0, False), (180, 0, False), (0, -0.25, False)),
        *((0, 0.6, False), (0, math.nan, False), (math.nan, 0, False)),
    ],
)
def test_a_body_stands_that_is_upright_and_on_the_floor(lean, toe, stands):
    joints = torch.zeros(22, 3)
    joints[12] = 0.5 * torch.tensor([math.sin(math.radians(lean)), 0, math.cos(math.radians(lean))])
    joints[0] += torch.tensor([3.0, 1.0, 1.0])
    joints[12] += joints[0]
    joints[10, 2], joints[11, 2] = toe, toe + 0.1
    assert bool(find_standing(joints)) is stands


def test_contacts_are_right_where_the_logit_has_the_right_sign():
    logits, truth = torch.tensor([[2.0, -1.0, 3.0, -4.0, 0.0]]), torch.tensor([[1.0, 1.0, 0.0, 0.0, 1.0]])
    found = {name: each.double().mean().item() for name, each in contact_accuracies(logits, truth).items()}
    assert found == pytest.approx({"contacts_acc": 2 / 5, "contacts_pos_acc": 1 / 3, "contacts_neg_acc": 1 / 2})


@pytest.mark.parametrize("count", [1, 2, 4])
def test_samples_are_compared_with_the_truth_and_with_each_other(count):
    samples, truth = random(2, count, 3, 22, 3), random(2, 3, 22, 3)
    found = sample_measures(samples, truth)
    for window in range(2):
        apart = [
            [[distance(s[t, j], truth[window, t, j]) for j in range(22)] for t in range(3)] for s in samples[window]
        ]
        average = [sum(sum(frame) for frame in sample) / 66 for sample in apart]
        assert found["ade_mm"][window].item() == pytest.approx(min(average))
        assert found["fde_mm"][window].item() == pytest.approx(min(sum(sample[-1]) / 22 for sample in apart))
        pairs = [
            sum(distance(a[t, j], b[t, j]) for t in range(3) for j in range(22)) / 66
            for a, b in itertools.combinations(samples[window], 2)
        ]
        assert ("apd_mm" in found) == bool(pairs)
        if pairs:
            assert found["apd_mm"][window].item() == pytest.approx(sum(pairs) / len(pairs))


def test_means_are_over_all_elements_and_none_over_none():
    one, other = Means(), Means()
    one.add(a=torch.tensor([[1.0, 2.0]]), b=torch.tensor([True, False]), c=torch.zeros(0))
    one.add(a=torch.tensor(6))
    other.add(a=torch.tensor([3.0]), c=torch.tensor([4.0]))
    assert one.read() == {"a": 3.0, "b": 0.5}
    one.merge(other)
    assert one.read() == {"a": 3.0, "b": 0.5, "c": 4.0}
