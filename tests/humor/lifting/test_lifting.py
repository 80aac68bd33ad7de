"""PoseFormer and PoseFormerV2 are made of known parts, and learn from motion seen through cameras as they are."""

import io
import math
from itertools import pairwise

import numpy as np
import pytest
import scipy.fft
import torch
from rich.console import Console
from torch import nn

from humor import BodyModel, Precision
from humor.errors import SettingError
from humor.io.run_tables import read_table
from humor.lifting import NOISES, LiftingBatch, LiftingWindows, Noise, PoseFormer, PoseFormerV2
from humor.lifting.cameras import (
    JOINT_NAMES,
    MAX_DISTANCE,
    MAX_FILL,
    MIN_DISTANCE,
    MIRRORED_JOINTS,
    PIXEL,
    add_detector_noise,
    draw_cameras,
    smpl_to_h36m_joints,
)
from humor.lifting.inference import lift
from humor.lifting.metrics import mpjpe
from humor.lifting.networks import (
    Attention,
    MixedTransformerBlock,
    TransformerBlock,
    dct_matrix,
    inverse_dct_matrix,
)
from humor.lifting.training import LiftingSettings, LiftingStep, LiftingTask
from humor.precision.presets import PRESETS
from humor.skeleton import BODY_NAMES
from humor.training.distributed import Team
from humor.training.loop import Trainer
from humor.training.optimizer import Adamax
from humor.training.seeded_noise import generator
from tests.support import golden_values as golden

SMALL = {"poseformer": lambda: PoseFormer(9), "poseformer-v2": lambda: PoseFormerV2(9, 3, 5)}
UNIT = {torch.bfloat16: 2.0**-8, torch.float16: 2.0**-11}  # half the gap between neighbours near 1
CPU = Team(0, 1, torch.device("cpu"))


def random_batch(windows=2, frames=9, seed=0):
    random = torch.Generator().manual_seed(seed)
    points = 0.3 * torch.randn(windows, frames, 17, 2, generator=random)
    return LiftingBatch(points, 0.3 * torch.randn(windows, 17, 3, generator=random))


def small(name, seed=0):
    torch.manual_seed(seed)
    return SMALL[name]()


@pytest.fixture(scope="module")
def walk(split):
    """Joints of windows of 27 frames: the store's, the cameras' choice from them is the test's."""
    store = split.train
    rows = torch.from_numpy(store.frame_data[:54]).reshape(2, 27, -1)[..., 9:75]
    return smpl_to_h36m_joints(rows.unflatten(-1, (22, 3)))


@pytest.mark.parametrize(("network", "count"), [(PoseFormer, 9_602_885), (PoseFormerV2, 14_381_899)])
def test_the_networks_have_the_published_parameters(network, count):
    assert sum(p.numel() for p in network(81).parameters()) == count


@pytest.mark.parametrize("width", [32, 544])
def test_a_layer_is_that_of_pytorch(width):
    torch.manual_seed(0)
    block, tokens = TransformerBlock(width), torch.randn(2, 5, width)
    plain = nn.TransformerEncoderLayer(
        width, 8, 2 * width, dropout=0, activation="gelu", layer_norm_eps=1e-6, batch_first=True, norm_first=True
    )
    ours = [*block.attention.parameters(), *block.mlp.parameters()]
    norms = [*block.attention_norm.parameters(), *block.mlp_norm.parameters()]
    for theirs, own in zip(plain.parameters(), [*ours, *norms], strict=True):
        theirs.data = own.data
    assert torch.allclose(block(tokens), plain(tokens), atol=1e-5)


def test_attention_is_that_of_pytorch():
    torch.manual_seed(0)
    attention, tokens = Attention(64), torch.randn(2, 7, 64)
    plain = nn.MultiheadAttention(64, 8, batch_first=True)
    for theirs, own in zip(plain.parameters(), attention.parameters(), strict=True):
        theirs.data = own.data
    assert torch.allclose(attention(tokens), plain(tokens, tokens, tokens)[0], atol=1e-6)


@pytest.mark.parametrize(("coefficients", "frames"), [(1, 1), (3, 9), (27, 27), (27, 243)])
def test_the_cosine_transform_is_that_of_scipy(coefficients, frames):
    signal = np.random.default_rng(0).normal(size=(frames, 4))
    expected = scipy.fft.dct(signal, axis=0)[:coefficients]
    assert dct_matrix(coefficients, frames).numpy() @ signal == pytest.approx(expected, abs=1e-4)
    assert inverse_dct_matrix(frames).numpy() @ scipy.fft.dct(signal, axis=0) == pytest.approx(signal, abs=1e-5)


@pytest.mark.parametrize(("tokens", "half"), [(8, 4), (7, 3), (36, 18)])
def test_the_second_half_goes_through_the_frequency_layers_as_frequencies(tokens, half):
    torch.manual_seed(0)
    block, given = MixedTransformerBlock(64, tokens), torch.randn(2, tokens, 64)
    found = block(given)
    after = given + block.attention(block.attention_norm(given))
    first, second = after[:, :half], after[:, half:]
    spectrum = scipy.fft.dct(block.frequency_norm(second).detach().numpy(), axis=1)
    changed = block.frequency_mlp(torch.from_numpy(spectrum)).detach().numpy()
    expected = second.detach().numpy() + scipy.fft.idct(changed, axis=1)
    assert found[:, half:].detach().numpy() == pytest.approx(expected, abs=1e-5)
    assert torch.allclose(found[:, :half], first + block.mlp(block.mlp_norm(first)), atol=1e-6)


def test_stochastic_depth_drops_later_branches_more_often_and_keeps_the_mean():
    torch.manual_seed(0)
    network, points = PoseFormerV2(9, 3, 5), random_batch(1).points.expand(64, -1, -1, -1)
    assert torch.equal(network(points), network(points))  # none, unless it is asked for
    network.set_drop_path(0.3)
    assert [block.drop_path.rate for block in network.temporal] == pytest.approx([0, 0.1, 0.2, 0.3])
    assert [block.drop_path.rate for block in network.spatial.blocks] == pytest.approx([0, 0.1, 0.2, 0.3])
    lifted = network(points)
    assert len(lifted.unique(dim=0)) > 32
    ones = torch.ones(20_000, 1, 1)
    dropped = network.temporal[3].drop_path(ones)
    assert dropped.unique().tolist() == pytest.approx([0, 1 / 0.7])
    assert dropped.mean().item() == pytest.approx(1, abs=0.02)
    network.eval()
    assert torch.equal(network(points), network(points))


def test_v2_sees_the_middle_and_the_low_frequencies_alone():
    seen = torch.cat([dct_matrix(5, 27), torch.eye(27)[12:15]])  # of a window of 27 frames
    unseen = torch.linalg.svd(seen).Vh[8:]
    points = random_batch(frames=27).points
    moved = points + torch.einsum("kt,bkjc->btjc", unseen, torch.randn(2, 19, 17, 2))
    networks = PoseFormerV2(27, 3, 5), PoseFormer(27)
    v2, other = ((network(points) - network(moved)).abs().max() for network in networks)
    assert v2 < 1e-4 < 1e-2 < other
    nudged = points.clone()
    nudged[:, 13] += 0.1
    assert (networks[0](points) - networks[0](nudged)).abs().max() > 1e-3


@pytest.mark.parametrize("name", SMALL)
def test_windows_are_lifted_by_themselves(name):
    network, points = small(name), random_batch(3).points
    together = network(points)
    assert together.shape == (3, 17, 3)
    assert torch.allclose(together, torch.cat([network(points[i : i + 1]) for i in range(3)]), atol=1e-5)


def test_too_few_frames_for_v2_and_an_even_number_are_refused(split):
    with pytest.raises(SettingError) as error:
        PoseFormerV2(9)
    assert str(error.value) == "frames 9: PoseFormerV2 keeps 27 of them and 27 coefficients; give more."
    with pytest.raises(SettingError) as error:
        LiftingWindows(split.train, 80)
    assert str(error.value) == "frames 80: one of them is in the middle; give an odd number."


@pytest.mark.parametrize(("name", "value"), [("width", 4), ("execution", "cuda-graph")])
def test_what_is_the_motion_models_alone_is_refused(name, value):
    with pytest.raises(SettingError) as error:
        LiftingSettings(**{name: value})
    assert str(error.value) == f"{name} {value}: not for poseformer-v2; leave it out."


def test_the_error_is_the_mean_distance_in_millimetres():
    target = torch.randn(2, 17, 3)
    predicted = target.clone()
    predicted[0] += torch.tensor([0.003, 0.0, -0.004])
    assert mpjpe(predicted, target).item() == pytest.approx(2.5, rel=1e-4)
    hit = target.clone().requires_grad_()
    error = mpjpe(hit, target)
    error.backward()
    assert error.item() == 0
    assert (hit.grad == 0).all()


@pytest.mark.parametrize("precision", [name for name, preset in PRESETS.items() if "cpu" in preset.devices])
@pytest.mark.parametrize("name", SMALL)
def test_gradients_are_finite_and_reach_every_weight(name, precision):
    network, batch, chosen = small(name), random_batch(), Precision(precision)
    half_weights = chosen.half_weights(network)
    with chosen.autocast_scope("cpu"), half_weights.active():
        predicted = network(batch.points)
    mpjpe(predicted, batch.joints).backward()
    half_weights.move_gradients_to_masters()
    for parameter_name, weight in network.named_parameters():
        assert weight.grad.isfinite().all(), parameter_name
        assert weight.grad.abs().max() > 0, parameter_name


# Roundings of nine layers of products over up to 1088 numbers, which average out; 2.4 units were seen.
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("precision", ["bf16", "fp16", "bf16-weights", "fp16-weights"])
@pytest.mark.parametrize("name", SMALL)
def test_half_precision_lifts_to_the_same_joints(name, precision, seed, device):
    network, points = small(name, seed).to(device), random_batch(seed=seed).points.to(device)
    expected, chosen = network(points), Precision(precision)
    with chosen.autocast_scope(device), chosen.half_weights(network).active():
        found = network(points)
    unit = UNIT[PRESETS[precision].autocast]
    assert ((found - expected).norm() / expected.norm()).item() < 5 * unit


@pytest.mark.parametrize("name", SMALL)
def test_a_few_windows_are_learnt_by_heart(name):
    network, batch = small(name), random_batch()
    step = LiftingStep(network, Adamax(network.parameters(), lr=1e-3), Precision("fp32"))
    errors = [step(batch).item() for _ in range(10)]
    assert errors[-1] < 0.5 * errors[0]
    assert mpjpe(step.lift(batch), batch.joints).item() < errors[0]


def test_the_joints_are_human36ms_and_the_crown_is_the_mannequins():
    joints = torch.randn(4, 22, 3)
    found = smpl_to_h36m_joints(joints)
    for place, name in enumerate(JOINT_NAMES):
        if name != "crown":
            assert torch.equal(found[:, place], joints[:, BODY_NAMES.index(name)])
    for left, right in enumerate(MIRRORED_JOINTS):
        assert JOINT_NAMES[right] == JOINT_NAMES[left].replace("left", "?").replace("right", "left").replace(
            "?", "right"
        )
    posed = BodyModel.mannequin("neutral")(
        torch.eye(3).expand(1, 22, 3, 3), torch.zeros(1, 16), torch.zeros(1, 3), vertices="all"
    )
    top = posed.vertices[0, posed.vertices[0, :, 1].argmax()]  # its rest pose has y up
    assert (smpl_to_h36m_joints(posed.joints)[0, JOINT_NAMES.index("crown")] - top).norm() < 0.03


@pytest.mark.parametrize("seed", range(5))
def test_a_camera_projects_as_the_formula_says_and_has_all_in_view(walk, seed):
    camera = draw_cameras(walk, generator((seed,)))
    seen = camera.world_to_camera(walk)
    points = camera.project(seen)
    for window in range(2):
        rotation, position = camera.rotation[window].numpy(), camera.position[window].numpy()
        assert rotation @ rotation.T == pytest.approx(np.eye(3), abs=1e-5)
        assert np.linalg.det(rotation) == pytest.approx(1, abs=1e-5)
        assert rotation[0, 2] == 0  # level
        for frame, joint in ((0, 0), (13, 10), (26, 16)):
            x, y, z = rotation @ (walk[window, frame, joint].numpy() - position)
            expected = [camera.focal[window].item() * x / z, camera.focal[window].item() * y / z]
            assert points[window, frame, joint].tolist() == pytest.approx(expected, abs=1e-4)
        nearest = seen[window, ..., 2].min().item()
        assert MIN_DISTANCE - 1e-3 < nearest < MAX_DISTANCE + 1e-3
    assert points.abs().max() <= MAX_FILL + 1e-4
    higher = camera.project(camera.world_to_camera(walk + torch.tensor([0.0, 0.0, 0.1])))
    assert (higher[..., 1] < points[..., 1]).all()  # the image's y goes down


def test_a_detector_makes_its_mistakes_as_often_as_it_says():
    points = torch.rand(200, 20, 17, 2, generator=generator((0,)))

    def seen(**mistakes):
        return add_detector_noise(
            points, Noise(**{"jitter": 0.0, "missed": 0.0, "swapped": 0.0} | mistakes), generator((1,))
        )

    assert torch.equal(seen(), points)
    assert (seen(jitter=5.0) - points).std().item() == pytest.approx(5 * PIXEL, rel=0.02)
    missed = seen(missed=0.02)
    moved = (missed != points).any(-1)
    assert moved.float().mean().item() == pytest.approx(0.02, abs=0.002)
    assert ((missed >= points.amin(2, keepdim=True)) & (missed <= points.amax(2, keepdim=True))).all()
    swapped = seen(swapped=0.1)
    moved = (swapped != points).any(-1)
    assert torch.equal(moved, moved[..., MIRRORED_JOINTS])  # both of a pair, or none
    assert torch.equal(swapped[moved], points[:, :, MIRRORED_JOINTS][moved])
    assert moved[..., 1:7].float().mean().item() == pytest.approx(0.1, abs=0.01)


def test_a_batch_is_a_function_of_its_key(split):
    motion = LiftingWindows(split.train, 9)
    where = np.array([0, 1]), np.array([0, 3])
    first, again = (motion.batch(*where, NOISES["noisy"], (3, 1, 4)) for _ in range(2))
    other = motion.batch(*where, NOISES["noisy"], (3, 1, 5))
    assert torch.equal(first.points, again.points)
    assert torch.equal(first.joints, again.joints)
    assert not torch.equal(first.points, other.points)
    clean, noisier = (motion.batch(*where, NOISES[name], (3, 1, 4)) for name in ("clean", "noisier"))
    assert torch.equal(clean.joints, first.joints)  # the cameras are the same
    jitter = [(batch.points - clean.points).abs().median().item() for batch in (first, noisier)]
    assert 0 < jitter[0] < jitter[1]


def test_the_middle_frame_is_lifted_from_the_frames_around_it(split):
    store, frames = split.train, 27
    batch = LiftingWindows(store, frames).batch(np.array([1]), np.array([2]), NOISES["clean"], (0,))
    assert (batch.joints[:, 0] == 0).all()
    rows = store.frame_data[store.clips[1].first + 2 + 5, 9:75].reshape(1, 22, 3)
    world = smpl_to_h36m_joints(torch.from_numpy(rows.copy()))
    for a, b in pairwise(range(17)):  # a camera changes no distance
        own, there = ((x[0, a] - x[0, b]).norm().item() for x in (batch.joints, world))
        assert own == pytest.approx(there, abs=1e-4)
    # Thirteen frames before the seventh, of which the first stands for the six that there are not.
    assert (batch.points[0, :6] == batch.points[0, 6]).all()
    assert not torch.equal(batch.points[0, 6], batch.points[0, 7])


def lifting_trainer(out, split, console=None, **changes):
    defaults = {"model": "poseformer", "frames": 9, "batch_size": 2, "steps_per_epoch": 2, "epochs": 2}
    settings = LiftingSettings(**(defaults | changes))
    return Trainer(LiftingTask(settings, split, CPU), out, console or Console(file=io.StringIO()))


def test_a_run_broken_off_goes_on_with_the_same_losses(split, tmp_path):
    console = Console(file=io.StringIO(), width=200)
    lifting_trainer(tmp_path / "whole", split, console).run()
    lifting_trainer(tmp_path / "broken", split, epochs=1).run()
    lifting_trainer(tmp_path / "broken", split).run()
    for name in ("steps.csv", "epochs.csv"):
        assert (tmp_path / "whole" / name).read_text() == (tmp_path / "broken" / name).read_text()
    epochs = read_table(tmp_path / "whole" / "epochs.csv")
    assert epochs["validation_loss"] == epochs["score"] == epochs["noisy"]
    assert len(set(zip(epochs["clean"], epochs["noisy"], epochs["noisier"], strict=True))) == 2
    assert all(map(math.isfinite, epochs["clean"] + epochs["noisier"]))
    assert f"clean {epochs['clean'][0]:.5g}, noisy {epochs['noisy'][0]:.5g}" in console.file.getvalue()
    with pytest.raises(SettingError, match="holds a run with model poseformer, not poseformer-v2; frames 9, not 27"):
        lifting_trainer(tmp_path / "whole", split, model="poseformer-v2", frames=27)


def test_the_held_out_error_is_that_of_every_window(split, tmp_path):
    task = lifting_trainer(tmp_path, split).task
    motion = LiftingWindows(split.validation, 9)
    batches = list(motion.evaluation_batches(task.windows, NOISES["clean"], 0))
    assert sum(map(len, batches)) == (split.validation.frames // 11).sum()
    lifted = torch.cat([lift(task.step.model.eval(), batch.points, True) for batch in batches])
    expected = mpjpe(lifted, torch.cat([batch.joints for batch in batches])).item()
    assert task.validate(0).extra["clean"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("recipe", ["published", "adamax"])
def test_a_training_begins_from_a_released_checkpoint_or_from_another_run(split, tmp_path, recipe):
    weights = golden.released_lifting_weights((9,), 0)
    torch.save({"model_pos": weights, "epoch": 3, "random_state": np.random.RandomState(0)}, tmp_path / "released.bin")
    trainer = lifting_trainer(
        tmp_path / "first", split, init_from=str(tmp_path / "released.bin"), epochs=5, recipe="adamax"
    )
    network = trainer.task.step.model
    assert torch.equal(network.head[1].weight, weights["head.1.weight"])
    trainer.run()
    assert read_table(tmp_path / "first" / "epochs.csv")["epoch"] == [4]
    begun = lifting_trainer(
        tmp_path / "next", split, init_from=str(tmp_path / "first" / "last.pt"), epochs=6, recipe=recipe
    )
    assert begun.position.epoch == 5
    assert all(map(torch.equal, begun.task.step.model.parameters(), network.parameters()))
    assert bool(begun.task.step.optimizer.state) == (recipe == "adamax")  # AdamW has other moments
    begun.run()
