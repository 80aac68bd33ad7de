"""A training goes on from a released checkpoint, and the published code reads ours."""

import io
import shutil
from itertools import pairwise

import pytest
import torch
from rich.console import Console
from torch import nn

from bench.published_loss import smplx_body
from humor import HumorModel
from humor.cli.app import main
from humor.errors import CheckpointError, HumorError, SettingError
from humor.io.checkpoints import save_checkpoint
from humor.io.run_tables import read_table
from humor.training.checkpoint_exchange import published_checkpoint
from humor.training.optimizer import Adamax
from tests.support import golden_values as golden
from tests.support.tiny_training import tiny_trainer

SETTINGS = {"steps_per_epoch": 2, "batch_size": 1, "scheduled_sampling_start": 0, "scheduled_sampling_end": 1}


class PublishedMlp(nn.Module):
    """Linear layers with group norm and ReLU between them, numbered as the published network numbers them."""

    def __init__(self, sizes, skip=0):
        super().__init__()
        net = [nn.Linear(sizes[0], sizes[1])]
        for inputs, outputs in pairwise(sizes[1:]):
            net += [nn.GroupNorm(16, inputs), nn.ReLU(), nn.Linear(inputs + skip, outputs)]
        self.net = nn.ModuleList(net)


class PublishedNetwork(nn.Module):
    """The parameters of the published network in its order; those of HuMoR-Qual's bodies after them."""

    def __init__(self, bodies=()):
        super().__init__()
        self.encoder = PublishedMlp([678, 1024, 1024, 1024, 1024, 96])
        self.decoder = PublishedMlp([387, 1024, 1024, 512, 216], 48)
        self.prior_net = PublishedMlp([339, 1024, 1024, 1024, 1024, 96])
        self.ignored = tuple(f"{name}_bm" for name in bodies)
        for name, body in zip(self.ignored, bodies.values() if bodies else (), strict=True):
            self.add_module(name, body)


def load_published(path, model, optimizer):
    """What the published `load_state` does: everything that it reads must be there, and fit."""
    content = torch.load(path, weights_only=True)
    weights, state = content["model"], content["optim"]
    if next(iter(weights)).startswith("module."):
        weights = {name.removeprefix("module."): weight for name, weight in weights.items()}
    assert not {name.split(".")[0] for name in weights} & set(model.ignored)
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert not unexpected
    assert not [name for name in missing if name.split(".")[0] not in model.ignored]
    optimizer.load_state_dict(state)
    return content["epoch"], content["min_val_loss"], content["min_train_loss"]


def save_published(path, model, optimizer, epoch):
    """What the published `save_state` writes where several GPUs train."""
    weights = {f"module.{name}": weight for name, weight in model.state_dict().items()}
    content = {"model": weights, "optim": optimizer.state_dict(), "epoch": epoch}
    torch.save({**content, "min_val_loss": 0.5, "min_train_loss": 0.25}, path)


def give_gradients(model, seed):
    """Gradients that are a function of a parameter's name."""
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            random = torch.Generator().manual_seed(seed + sum(map(ord, name)))
            weight.grad = torch.randn(weight.shape, generator=random)


def captured():
    return Console(file=io.StringIO(), width=200)


@pytest.fixture(scope="module")
def bodies():
    return golden.bodies()


@pytest.fixture(scope="module")
def trained(bodies, split, tmp_path_factory):
    """A run of two epochs, its checkpoint after the first, and the same as the published code saves it."""
    out = tmp_path_factory.mktemp("trained")
    tiny_trainer(out / "run", bodies, split, console=captured(), epochs=1, **SETTINGS).run()
    shutil.copy(out / "run" / "last.pt", out / "first.pt")
    main(["export", "--checkpoint", str(out / "first.pt"), "--out", str(out / "published.pth")])
    tiny_trainer(out / "run", bodies, split, console=captured(), epochs=2, **SETTINGS).run()
    return out


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """A file as the published code saves it after nine epochs: rule-filled weights, an optimizer of three steps."""
    path = tmp_path_factory.mktemp("released") / "humor.pth"
    model = PublishedNetwork()
    model.load_state_dict(golden.filled_model(1).state_dict())
    optimizer = torch.optim.Adamax(model.parameters(), lr=1e-4)
    for step in range(3):
        give_gradients(model, step)
        optimizer.step()
    save_published(path, model, optimizer, 8)
    return path


def test_an_exported_checkpoint_is_read_by_the_published_reader(trained):
    model, ours = PublishedNetwork(), HumorModel()
    optimizer = torch.optim.Adamax(model.parameters(), lr=1.0)
    assert load_published(trained / "published.pth", model, optimizer)[0] == 0
    ours.load_checkpoint(trained / "first.pt")
    assert list(model.state_dict()) == list(ours.state_dict())
    own_optimizer = Adamax(ours.parameters())
    own_optimizer.load_state_dict(torch.load(trained / "first.pt", weights_only=True)["optimizer"])
    assert optimizer.param_groups[0]["lr"] == own_optimizer.param_groups[0]["lr"] == 1e-4
    for each, each_optimizer in ((model, optimizer), (ours, own_optimizer)):
        give_gradients(each, 7)
        each_optimizer.step()
    for name, weight in ours.named_parameters():
        torch.testing.assert_close(model.get_parameter(name), weight, atol=1e-7, rtol=1e-6)


def test_a_training_goes_on_from_an_exported_checkpoint_as_if_it_had_not_stopped(trained, bodies, split, tmp_path):
    source, console = trained / "published.pth", captured()
    tiny_trainer(tmp_path, bodies, split, console=console, epochs=2, init_from=str(source), **SETTINGS).run()
    said = f"{tmp_path}: beginning with epoch 1 from {source}, with its optimizer's state\n"
    assert console.file.getvalue().startswith(said)
    for table in ("steps.csv", "epochs.csv"):
        expected = [line for line in (trained / "run" / table).read_text().splitlines() if line[0] in "1e"]
        assert (tmp_path / table).read_text().splitlines() == expected


def test_a_released_checkpoint_is_fine_tuned(released, bodies, split, tmp_path):
    console, network = captured(), PublishedNetwork()
    optimizer = torch.optim.Adamax(network.parameters(), lr=1e-4)
    load_published(released, network, optimizer)
    trainer = tiny_trainer(
        tmp_path,
        bodies,
        split,
        console=console,
        epochs=10,
        init_from=str(released),
        **SETTINGS | {"steps_per_epoch": 1},
    )
    model, update = trainer.task.step.model, trainer.task.step.optimize
    given = {}

    def optimize():
        given.update({name: weight.grad.clone() for name, weight in model.named_parameters()})
        update()

    trainer.task.step.optimize = optimize
    trainer.run()
    assert "beginning with epoch 9 from" in console.file.getvalue()
    assert read_table(tmp_path / "epochs.csv")["epoch"] == [9]
    assert read_table(tmp_path / "epochs.csv")["teacher_forcing_rate"] == [0]
    for name, weight in network.named_parameters():
        weight.grad = given[name]
    optimizer.step()
    for name, weight in model.named_parameters():
        torch.testing.assert_close(network.get_parameter(name), weight, atol=1e-6, rtol=1e-5)


@pytest.mark.slow
def test_a_run_that_began_from_a_checkpoint_goes_on_without_it(trained, bodies, split, tmp_path):
    source = tmp_path / "source.pth"
    shutil.copy(trained / "published.pth", source)
    settings = {**SETTINGS, "steps_per_epoch": 1, "init_from": str(source)}
    tiny_trainer(tmp_path / "run", bodies, split, console=captured(), epochs=2, **settings).run()
    source.unlink()
    console = captured()
    tiny_trainer(tmp_path / "run", bodies, split, console=console, epochs=3, **settings).run()
    assert console.file.getvalue().startswith(f"{tmp_path}/run: going on from epoch 2, step 0\n")
    assert read_table(tmp_path / "run" / "epochs.csv")["epoch"] == [1, 2]


@pytest.mark.slow
def test_a_run_of_humor_qual_is_read_by_the_published_humor_qual(bodies, split, released, tmp_path):
    settings = {**SETTINGS, "steps_per_epoch": 1, "epochs": 10, "smpl_joint_inputs": True, "init_from": str(released)}
    tiny_trainer(tmp_path / "run", bodies, split, console=captured(), **settings).run()
    save_checkpoint(published_checkpoint(tmp_path / "run" / "last.pt"), tmp_path / "qual.pth")
    model = PublishedNetwork({name: smplx_body(golden.body_arrays(name)) for name in ("male", "female", "neutral")})
    optimizer = torch.optim.Adamax(model.parameters())
    assert load_published(tmp_path / "qual.pth", model, optimizer)[0] == 9
    give_gradients(model, 0)
    optimizer.step()
    assert HumorModel.load(tmp_path / "run" / "best.pt").smpl_joint_inputs
    assert not HumorModel.load(released).smpl_joint_inputs


def changed(content, tmp_path, **changes):
    path = tmp_path / "changed.pth"
    torch.save({name: value for name, value in {**content, **changes}.items() if value is not None}, path)
    return path


def state_of(**values):
    """An optimizer's state with the same values for every parameter."""
    return {"state": dict.fromkeys(range(50), values), "param_groups": []}


OTHER_STATES = {
    "none": None,
    "other shapes": state_of(step=3, exp_avg=torch.zeros(1), exp_inf=torch.zeros(1)),
    "another optimizer": state_of(step=3, exp_avg=torch.zeros(1), exp_avg_sq=torch.zeros(1)),
    "of no step": {"state": {}, "param_groups": []},
    "a list": {"state": [1, 2]},
    "a number": 5,
}


@pytest.mark.parametrize(
    "state",
    [
        pytest.param(state, id=name, marks=[pytest.mark.slow] * (k > 1))
        for k, (name, state) in enumerate(OTHER_STATES.items())
    ],
)
def test_a_checkpoint_without_adamaxs_state_begins_the_optimizer_anew(state, released, bodies, split, tmp_path):
    path = changed(torch.load(released, weights_only=True), tmp_path, optim=state)
    trainer = tiny_trainer(tmp_path / "run", bodies, split, epochs=10, init_from=str(path), **SETTINGS)
    assert trainer.beginning == f"beginning with epoch 9 from {path}, the optimizer begins anew"
    assert not trainer.task.step.optimizer.state_dict()["state"]
    content = published_checkpoint(path)
    save_checkpoint(content, tmp_path / "again.pth")
    model = PublishedNetwork()
    load_published(tmp_path / "again.pth", model, torch.optim.Adamax(model.parameters()))


def test_weights_alone_begin_with_epoch_0(released, bodies, split, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"model": torch.load(released, weights_only=True)["model"]}, path)
    trainer = tiny_trainer(tmp_path / "run", bodies, split, init_from=str(path), **SETTINGS)
    assert trainer.position.epoch == 0
    assert published_checkpoint(path)["epoch"] == 0


def wide(_, tmp_path):
    weights = {name: torch.zeros(1).expand(weight.shape) for name, weight in HumorModel(2).state_dict().items()}
    torch.save({"model": weights}, tmp_path / "wide.pth")
    return tmp_path / "wide.pth"


@pytest.mark.parametrize(
    ("make", "call", "kind", "text"),
    [
        (
            lambda released, _: released,
            lambda path, *given: tiny_trainer(*given, epochs=9, init_from=str(path)),
            SettingError,
            "{}: its training had 9 epochs; give --epochs above that, e.g. --epochs 19.",
        ),
        (
            lambda released, tmp_path: changed(torch.load(released, weights_only=True), tmp_path, epoch="nine"),
            lambda path, *given: tiny_trainer(*given, init_from=str(path)),
            CheckpointError,
            '{}: its "epoch" is no whole number from 0; use another checkpoint.',
        ),
        (
            wide,
            lambda path, *_: published_checkpoint(path),
            CheckpointError,
            "{}: a network of width 2; the published code has width 1 alone.",
        ),
        (
            wide,
            lambda path, *given: tiny_trainer(*given, init_from=str(path)),
            CheckpointError,
            "{}: a network of width 2, expected 1; use HumorModel(2), or give --width 2.",
        ),
    ],
    ids=["no epoch left", "no epoch", "too wide to export", "too wide to begin from"],
)
def test_what_cannot_be_used_is_one_sentence(make, call, kind, text, released, bodies, split, tmp_path):
    path = make(released, tmp_path)
    with pytest.raises(HumorError) as error:
        call(path, tmp_path / "run", bodies, split)
    assert type(error.value) is kind
    assert str(error.value) == text.format(path)


def test_export_says_what_it_wrote(trained, tmp_path, capsys):
    for name, optimizer in (("last", "the optimizer's state"), ("best", "no optimizer's state, for it has none")):
        source, out = trained / "run" / f"{name}.pt", tmp_path / f"{name}.pth"
        main(["export", "--checkpoint", str(source), "--out", str(out)])
        epoch = torch.load(out, weights_only=True)["epoch"]
        assert capsys.readouterr().out == f"wrote {out}: the weights of {source}, epoch {epoch}, and {optimizer}\n"
