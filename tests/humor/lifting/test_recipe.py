"""The lifting networks learn by the published recipe, and their errors are the papers'."""

import numpy as np
import pytest
import torch
from scipy.spatial import procrustes
from scipy.spatial.transform import Rotation

from humor import Precision
from humor.errors import SettingError
from humor.lifting import NOISES, LiftingWindows, PoseFormer
from humor.lifting.cameras import MIRRORED_JOINTS, mirror
from humor.lifting.inference import Lifter, lift
from humor.lifting.metrics import METRICS, mpjpe, mpjve, n_mpjpe, p_mpjpe
from humor.lifting.networks import build_network
from humor.lifting.training import LiftingSettings, LiftingStep, LiftingTask
from humor.training.distributed import Team
from humor.training.optimizer import Adamax, AdamW

CPU = torch.device("cpu")


def poses(seed, frames=5):
    return torch.randn(frames, 17, 3, generator=torch.Generator().manual_seed(seed))


def test_the_published_recipe_is_the_default_and_the_motion_models_another(split):
    published, ours = LiftingSettings(batch_size=2), LiftingSettings(batch_size=2, recipe="adamax")
    assert published.learning_rate_at(0) == 1e-4
    assert published.learning_rate_at(100) == pytest.approx(1e-4 * 0.99**100)
    assert [ours.learning_rate_at(epoch) for epoch in (49, 50)] == [1e-4, 0.5e-4]
    tasks = [LiftingTask(settings, split, Team(0, 1, CPU)) for settings in (published, ours)]
    for task in tasks:
        task.build()
    first, second = (task.step for task in tasks)
    assert isinstance(first.optimizer, AdamW)
    assert isinstance(second.optimizer, Adamax)
    assert first.optimizer.param_groups[0]["weight_decay"] == 0.1
    assert [block.drop_path.rate for block in first.model.temporal] == pytest.approx([0, 0.1 / 3, 0.2 / 3, 0.1])
    assert [block.drop_path.rate for block in second.model.spatial.blocks] == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("frames", "more", "sizes"),
    [(27, {}, (3, 3)), (81, {}, (9, 9)), (243, {}, (27, 27)), (5, {}, (1, 1)), (81, {"coefficients": 27}, (27, 9))],
)
def test_the_released_sizes_are_presets_and_every_other_an_option(frames, more, sizes):
    network = build_network("poseformer-v2", frames, **more)
    assert (network.frames, network.sizes) == (frames, sizes)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("poseformer", 9, 3), "kept_frames 3: not for poseformer; leave it out."),
        (("poseformer", 0), "frames 0: expected a whole number from 1."),
        (("poseformer-v2", 9, 3, 0), "coefficients 0: expected a whole number from 1."),
        (("poseformer-v2", 9, 11), "frames 9: PoseFormerV2 keeps 11 of them and 1 coefficients; give more."),
    ],
)
def test_impossible_sizes_are_refused(arguments, message):
    with pytest.raises(SettingError) as error:
        build_network(*arguments)
    assert str(error.value) == message


def test_a_mirrored_person_has_left_and_right_exchanged():
    joints = poses(0)
    mirrored = mirror(joints)
    assert torch.equal(mirrored[:, 4, 0], -joints[:, 1, 0])  # the left hip is where the right one was
    assert torch.equal(mirrored[..., 1:], joints[:, MIRRORED_JOINTS, 1:])
    assert torch.equal(mirror(mirrored), joints)


def test_half_of_the_windows_are_mirrored_both_as_points_and_as_joints(split):
    motion, where = LiftingWindows(split.train, 9), (np.zeros(40, int), np.zeros(40, int))
    plain, flipped = (motion.batch(*where, NOISES["noisy"], (0,), flips) for flips in (False, True))
    mirrored = (flipped.points != plain.points).flatten(1).any(1)
    assert 10 < mirrored.sum() < 30
    for kind in ("points", "joints"):
        a, b = getattr(plain, kind), getattr(flipped, kind)
        assert torch.equal(b[~mirrored], a[~mirrored])
        assert torch.equal(b[mirrored], mirror(a[mirrored]))


def test_lifting_both_ways_is_the_same_for_a_mirrored_person():
    torch.manual_seed(0)
    network, points = PoseFormer(9).eval(), poses(1, 18)[..., :2].unflatten(0, (2, 9))
    one_way, both = (lift(network, points, flips) for flips in (False, True))
    torch.testing.assert_close(both, (one_way + mirror(lift(network, mirror(points), False))) / 2)
    torch.testing.assert_close(lift(network, mirror(points), True), mirror(both))
    assert (lift(network, mirror(points), False) - mirror(one_way)).abs().max() > 1e-3


def test_what_a_step_lifts_is_without_stochastic_depth():
    network, points = PoseFormer(9), poses(1, 18)[..., :2].unflatten(0, (2, 9))
    network.set_drop_path(0.9)
    step = LiftingStep(network, AdamW(network.parameters()), Precision("fp32"))
    batch = type("Batch", (), {"points": points, "to": lambda self, _: self})()
    assert torch.equal(step.lift(batch), step.lift(batch))
    assert network.training


@pytest.mark.parametrize("frames", [1, 4, 150])
def test_a_clip_is_lifted_frame_by_frame_with_its_ends_repeated(frames):
    torch.manual_seed(0)
    network, points = PoseFormer(9).eval(), poses(2, frames)[..., :2]
    lifted = Lifter(network, "fp32", CPU).lift_clip(points, False)
    assert lifted.shape == (frames, 17, 3)
    padded = torch.cat([points[:1]] * 4 + [points] + [points[-1:]] * 4)
    for frame in {0, frames // 2, frames - 1}:
        expected = lift(network, padded[None, frame : frame + 9], False)[0]
        torch.testing.assert_close(lifted[frame], expected, atol=1e-5, rtol=1e-4)


def test_errors_are_those_of_slow_twins():
    predicted, target = poses(0), poses(1)
    distances = np.linalg.norm(predicted.numpy() - target.numpy(), axis=-1)
    assert mpjpe(predicted, target).item() == pytest.approx(1000 * distances.mean(), rel=1e-5)
    aligned, scaled = [], []
    for a, b in zip(predicted.double().numpy(), target.double().numpy(), strict=True):
        # scipy's rotation may not mirror; its scale and middles are computed here.
        centred, wanted = a - a.mean(0), b - b.mean(0)
        turned = Rotation.align_vectors(wanted, centred)[0].apply(centred)
        fitted = (turned * wanted).sum() / (turned**2).sum() * turned
        aligned.append(np.linalg.norm(fitted - wanted, axis=-1).mean())
        scaled.append(np.linalg.norm((a * b).sum() / (a * a).sum() * a - b, axis=-1).mean())
    assert p_mpjpe(predicted, target).item() == pytest.approx(1000 * np.mean(aligned), rel=1e-4)
    assert n_mpjpe(predicted, target).item() == pytest.approx(1000 * np.mean(scaled), rel=1e-5)
    moves = [x[1:] - x[:-1] for x in (predicted, target)]
    assert mpjve(predicted, target).item() == pytest.approx(1000 * (moves[0] - moves[1]).norm(dim=-1).mean().item())


def test_aligned_errors_forgive_what_they_should_and_not_a_mirror_image():
    target = poses(0, 3)
    turn = torch.tensor(Rotation.random(random_state=0).as_matrix(), dtype=torch.float32)
    moved = 1.7 * target @ turn + torch.tensor([1.0, 2.0, 3.0])
    assert p_mpjpe(moved, target).item() < 1e-2
    assert n_mpjpe(2 * target, target).item() < 1e-2
    assert mpjve(target + 5, target).item() < 1e-2
    assert all(metric(target, target).item() < 1e-2 for metric in METRICS.values())
    mirrored = target * torch.tensor([-1.0, 1.0, 1.0])
    assert p_mpjpe(mirrored, target).item() > 100
    assert procrustes(target[0].numpy(), mirrored[0].numpy())[2] < 1e-6  # scipy's lets it mirror
    still = torch.zeros(3, 17, 3)
    assert all(metric(still, target).isfinite() for metric in METRICS.values())
