"""However a step runs, it is the same step."""

from dataclasses import replace

import pytest
import torch

from humor import HumorLoss, HumorModel, Precision
from humor.errors import SettingError
from humor.precision.presets import PRESETS
from humor.training.execution import CudaGraphCache, CudaGraphs, require_execution
from humor.training.optimizer import Adamax
from humor.training.seeded_noise import training_noise
from humor.training.step import TrainStep
from tests.support import golden_values as golden


class Rerun:
    """A recorder for any device: it plays a recording by running the call again, on the memory it was recorded on."""

    def __init__(self):
        self.recorded = 0

    def warm_up(self, call):
        return call()

    def record(self, call):
        self.recorded += 1
        return call


def test_a_layout_is_recorded_when_it_comes_again_and_the_latest_are_kept():
    recorder, run = Rerun(), []
    recordings = CudaGraphCache(recorder, max_graphs=2)

    def tell(layout, value):
        inputs = [torch.tensor([value])]

        def call(own):
            run.append(layout)
            return 2 * own[0]

        told = recordings.run(layout, inputs, call)
        assert told.item() == 2 * value
        return told

    kept = [tell("a", 1.0), tell("a", 2.0), tell("a", 3.0)]
    assert (recorder.recorded, recordings.replays) == (1, 1)
    assert [told.item() for told in kept] == [2, 4, 6]  # in memory of their own
    tell("b", 1.0)
    tell("a", 4.0)
    tell("c", 1.0)  # b was used longest ago
    tell("a", 5.0)
    assert recorder.recorded == 1
    tell("b", 2.0)
    tell("b", 3.0)
    assert recorder.recorded == 2
    assert run == list("aaabacabb")  # every call was made exactly once


def same_steps(loss, precision, device="cpu"):
    """Two steps of the same weights, one eager and one to be recorded."""
    steps = []
    for _ in range(2):
        torch.manual_seed(0)
        model = HumorModel().to(device)
        steps.append(TrainStep(model, loss, Adamax(model.parameters()), Precision(precision)))
    return steps


def assert_the_same(eager, recorded, make_batch, rows):
    for index, (windows, seed, epoch, rate, truth) in enumerate(rows):
        noise = training_noise(0, 0, index, windows).to(eager.device)
        found = []
        for step in (eager, recorded):
            for group in step.optimizer.param_groups:
                group["lr"] = rate
            found.append((*step(make_batch(windows, seed), epoch, noise, truth), step.optimizer.taken.clone()))
        (expected, expected_terms, taken), (total, terms, its_taken) = found
        assert list(terms) == list(expected_terms)
        assert its_taken == taken
        torch.testing.assert_close(total, expected, rtol=1e-5, atol=0)
        torch.testing.assert_close(dict(terms), dict(expected_terms), rtol=1e-4, atol=1e-6, equal_nan=True)
    for a, b in zip(eager.model.parameters(), recorded.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=2e-6)  # a fiftieth of what a step changes


OWN = (True, False, False) * 3
ROWS = [
    # windows  seed  epoch  rate   truth
    (2,        0,    50,    1e-4, None),
    (2,        0,    50,    1e-4, None),
    (2,        0,    60,    1e-4, None),  # the same KL weight
    (2,        0,    20,    1e-4, None),  # another
    (2,        0,    50,    5e-5, None),
    (3,        1,    50,    1e-4, None),
    (2,        0,    50,    1e-4, OWN),
    (2,        0,    50,    1e-4, None),
    (2,        0,    50,    1e-4, OWN),
]  # fmt: skip


@pytest.mark.parametrize("precision", ["fp32", "fp16-weights"])
def test_recorded_steps_are_eager_ones(precision, make_batch):
    eager, recorded = same_steps(HumorLoss(golden.bodies()), precision)
    recorder = Rerun()
    recorded.record_graphs_with(recorder)
    assert_the_same(eager, recorded, make_batch, ROWS)
    assert (recorder.recorded, recorded.graph_cache.replays) == (2, 2)


def test_genders_are_part_of_a_layout(make_batch):
    loss = HumorLoss(golden.bodies())
    eager, recorded = same_steps(loss, "fp32")
    recorded.record_graphs_with(Rerun())
    batch, noise = make_batch(2), training_noise(0, 0, 0, 2)
    for genders in (["male", "female"], ["male", "female"], ["female", "female"], ["male", "female"]):
        batch = replace(batch, gender=genders)
        torch.testing.assert_close(recorded(batch, 50, noise)[0], eager(batch, 50, noise)[0])
    assert recorded.graph_cache.replays == 1


@pytest.mark.cuda
@pytest.mark.parametrize("precision", [name for name in PRESETS if Precision(name).supports("cuda")])
def test_steps_played_from_cuda_graphs_are_eager_ones(precision, make_batch):
    eager, recorded = same_steps(HumorLoss(golden.bodies()).to("cuda"), precision, "cuda")
    recorded.record_graphs_with(CudaGraphs(torch.device("cuda")))
    assert_the_same(eager, recorded, make_batch, ROWS)
    assert recorded.graph_cache.replays == 2


def test_a_cuda_graph_without_cuda_is_refused():
    model = HumorModel()
    with pytest.raises(SettingError) as error:
        TrainStep(model, HumorLoss({}), Adamax(model.parameters()), Precision("fp32"), execution="cuda-graph")
    assert str(error.value) == "execution cuda-graph: needs a CUDA device, not cpu; give eager or compile."


def test_several_processes_run_eagerly():
    require_execution("eager", torch.device("cpu"), 2)
    with pytest.raises(SettingError) as error:
        require_execution("compile", torch.device("cpu"), 2)
    assert str(error.value) == "execution compile: for one process, not 2; give eager with torchrun."


def test_an_optimizer_that_reads_cannot_be_recorded():
    model = HumorModel()
    step = TrainStep(model, HumorLoss({}), torch.optim.Adamax(model.parameters()), Precision("fp32"))
    with pytest.raises(SettingError) as error:
        step.record_graphs_with(Rerun())
    assert str(error.value) == "execution cuda-graph: needs training.optimizer.Adamax, which never reads; use it."
