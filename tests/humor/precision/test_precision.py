"""Half precision trains on the same loss and the same gradients as single, within a stated bound."""

import copy
from dataclasses import dataclass
from functools import cache

import pytest
import torch

from bench import project
from humor import HumorLoss, HumorModel, MotionState, Precision
from humor.model import Transition
from humor.precision.presets import PRESETS
from humor.rotations import rotvec_to_rotmat
from humor.training.step import TrainStep
from tests.support import golden_values as golden

UNIT = {"fp32": 2.0**-24, "bf16": 2.0**-8, "fp16": 2.0**-11}  # half the gap between neighbours near 1
# Presets that keep half weights, and the one that casts, whose numbers theirs are.
CASTING = {name: name.removesuffix("-weights") for name, preset in PRESETS.items() if preset.keep_half_weights}
UNIT |= {name: UNIT[casting] for name, casting in CASTING.items()}


@dataclass(frozen=True)
class Bound:
    """Largest error against float64, in units of the format's rounding."""

    terms: float  # relative, each term of the loss
    total: float  # relative
    direction: float  # 1 - cosine of all gradients together
    norm: float  # relative, of the gradients


# Inputs and weights are rounded once, by up to one unit each, and sums over hundreds of products average their
# roundings out: terms are quadratic in the outputs, hence twice the two. The total averages over its terms. A gradient
# also meets ReLUs whose input was rounded across zero; their share grows with the unit, and 1 - cosine with their
# share (4.3 units were seen). Float32 has more: its rounding is that of the loss itself, of 6890 vertices.
BOUNDS = {
    "fp32": Bound(terms=100.0, total=20.0, direction=1.0, norm=50.0),
    "bf16": Bound(terms=4.0, total=1.0, direction=8.0, norm=4.0),
    "fp16": Bound(terms=4.0, total=1.0, direction=8.0, norm=4.0),
}
BOUNDS |= {name: BOUNDS[casting] for name, casting in CASTING.items()}

# name          size of everything, size of rotation vectors (radians), metres from the origin, rows of zeros
STATES = {
    "random":      (1.0, 0.3, 0.0, 0),
    "rest pose":   (1.0, 0.0, 0.0, 0),
    "padded rows": (1.0, 0.3, 0.0, 4),
    "far away":    (1.0, 0.3, 100.0, 0),
    "ten times":   (10.0, 3.0, 0.0, 0),
}  # fmt: skip
ROWS, GENDER = 8, ["male"] * 3 + ["female"] * 3 + ["neutral"] * 2


def draw_state(kind, random):
    size, angle, shift, padded = STATES[kind]
    live = (torch.arange(ROWS) < ROWS - padded).float()

    def draw(*shape, size=size):
        return torch.randn(ROWS, *shape, generator=random) * size * live.reshape(-1, *[1] * len(shape))

    return MotionState(
        draw(3) + shift, draw(3), rotvec_to_rotmat(draw(3, size=angle)), draw(3),
        rotvec_to_rotmat(draw(21, 3, size=angle)), draw(22, 3) + shift, draw(22, 3),
    )  # fmt: skip


@pytest.fixture(scope="module")
def evaluated():
    """A function (kind, seed, precision, dtype, device) that evaluates a step once."""

    @cache
    def loss_of(dtype, device):
        return copy.deepcopy(HumorLoss(golden.bodies())).to(device, dtype)

    return cache(
        lambda kind, seed, precision, dtype=torch.float32, device="cpu": evaluate(
            kind, seed, Precision(precision), dtype, device, loss_of(dtype, device)
        )
    )


def evaluate(kind, seed, precision, dtype, device, loss):
    """Loss, terms and all gradients of one step of a fresh network."""
    random = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    model = HumorModel().to(device, dtype)
    states = [draw_state(kind, random).map(lambda x: x.to(device, dtype)) for _ in range(2)]
    noise, betas, contacts = (torch.randn(ROWS, n, generator=random).to(device, dtype) for n in (48, 16, 9))
    scale = 2.0**10 if precision.preset.scaled else 1.0  # where a scaler settles on these states
    half_weights = precision.half_weights(model)
    with precision.autocast_scope(device), half_weights.active():
        out = model(*states, noise)
        total, terms = loss(out, states[1], (contacts > 0).to(dtype), betas, GENDER, 50)
    (scale * total).backward()
    half_weights.move_gradients_to_masters()
    gradients = torch.cat([p.grad.flatten() for p in model.parameters()]).double().cpu() / scale
    assert_finite(out, terms, gradients)
    return total.item(), {name: term.item() for name, term in terms.items() if not name.endswith("acc")}, gradients


def assert_finite(out: Transition, terms, gradients):
    assert out.state.to_vector().isfinite().all()
    assert all(term.isfinite() for name, term in terms.items() if not name.endswith("acc"))
    assert gradients.isfinite().all()


@pytest.mark.parametrize("kind", STATES)
@pytest.mark.parametrize("precision", ["fp16", "fp16-weights"])
def test_fp16_losses_match_fp32_within_their_bound(precision, kind, device, evaluated):
    """Term by term and for the gradients, by the bounds that the answers of benchmarks are held to."""
    unit = Precision(precision).unit_roundoff
    expected, terms, gradients = evaluated(kind, 0, "fp32", device=str(device))
    total, ours, found = evaluated(kind, 0, precision, device=str(device))
    assert ours == pytest.approx(terms, rel=project.BOUNDS["loss"](unit), abs=1e-6)
    assert total == pytest.approx(expected, rel=project.BOUNDS["loss"](unit))
    assert (found - gradients).norm() <= project.BOUNDS["gradients"](unit) * gradients.norm()
    assert ours != terms  # it is not float32 that ran


@pytest.mark.parametrize("kind", STATES)
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("precision", BOUNDS)
def test_loss_and_gradients_agree_with_float64(precision, seed, kind, device, evaluated):
    bound, unit = BOUNDS[precision], UNIT[precision]
    expected, terms, gradients = evaluated(kind, seed, "fp32", torch.float64, str(device))
    total, ours, found = evaluated(kind, seed, precision, device=str(device))
    assert ours == pytest.approx(terms, rel=bound.terms * unit, abs=1e-6)
    assert total == pytest.approx(expected, rel=bound.total * unit)
    assert torch.cosine_similarity(found, gradients, 0).item() > 1 - bound.direction * unit
    assert found.norm().item() == pytest.approx(gradients.norm().item(), rel=bound.norm * unit)


@pytest.mark.parametrize("name", [name for name, preset in PRESETS.items() if "cpu" in preset.devices])
def test_a_step_in_any_precision_moves_the_weights_and_lowers_the_loss(name, make_batch):
    torch.manual_seed(0)
    model = HumorModel()
    batch, noise = make_batch(2), torch.randn(2, 10, 48)
    step = TrainStep(
        model, HumorLoss(golden.bodies()), torch.optim.Adamax(model.parameters(), lr=1e-5), Precision(name)
    )
    losses = [step(batch, 50, noise)[0].item() for _ in range(8)]
    assert losses[-1] < losses[0]  # float16 leaves its first steps out, until its scale fits
    assert all(p.isfinite().all() and p.dtype == torch.float32 for p in model.parameters())


def test_only_float16_scales_its_gradients():
    assert [name for name in PRESETS if Precision(name).scaler("cpu").is_enabled()] == [
        "fp16",
        "fp16-weights",
    ]


def test_half_precision_multiplies_in_half_and_single_does_not():
    layer, rows = torch.nn.Linear(8, 8), torch.ones(2, 8)
    found = {}
    for name in ("fp32", "bf16", "fp16"):
        with Precision(name).autocast_scope("cpu"):
            found[name] = layer(rows).dtype
    assert found == {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def test_an_overflowing_float16_step_is_left_out(make_batch):
    torch.manual_seed(0)
    model = HumorModel()
    step = TrainStep(model, HumorLoss(golden.bodies()), torch.optim.Adamax(model.parameters()), Precision("fp16"))
    step.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
    before = [p.clone() for p in model.parameters()]
    step(make_batch(1), 50)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))
    assert step.scaler.get_scale() < 2.0**40


@pytest.mark.cuda
@pytest.mark.parametrize("name", [name for name in PRESETS if Precision(name).supports("cuda")])
def test_a_step_on_cuda_agrees_with_the_cpu(name, make_batch):
    batch, noise = make_batch(4), torch.randn(4, 10, 48)
    found = {}
    for device, precision in (("cpu", "fp32"), ("cuda", name)):
        torch.manual_seed(0)
        model = HumorModel().to(device)
        loss = HumorLoss(copy.deepcopy(golden.bodies())).to(device)
        step = TrainStep(model, loss, torch.optim.Adamax(model.parameters()), Precision(precision))
        found[device] = step(batch, 50, noise.to(device))[0].item()
    bound = BOUNDS["bf16"].total * Precision(name).unit_roundoff
    assert found["cuda"] == pytest.approx(found["cpu"], rel=max(bound, 1e-5))
