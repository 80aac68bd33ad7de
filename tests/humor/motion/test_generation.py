"""Generated motion is what the network says, and its files say the same."""

import numpy as np
import pytest
import torch

import humor.cli.motion
import humor.motion.generation
from humor import HumorModel
from humor.cli.app import main
from humor.data import MotionStore, read_amass, synthetic_motion
from humor.data.amass import write_amass
from humor.errors import HumorError
from humor.io.checkpoints import save_checkpoint
from humor.motion.generation import Network, clip_of, draw_starts, joints_of, reconstruct, rotmats_of, sample
from humor.state import CanonicalFrame, MotionState
from tests.support import golden_values as golden


@pytest.fixture(scope="module")
def bodies():
    return golden.bodies()


@pytest.fixture(scope="module")
def store(split):
    return split.train


@pytest.fixture(scope="module")
def model():
    return golden.filled_model(1, 0.02)


@pytest.fixture(scope="module")
def checkpoint(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("network") / "net.pth"
    save_checkpoint({"model": model.state_dict()}, path)
    return path


def initial_of(store, count):
    return MotionState.stack([store.states(clip).map(lambda x: x[5]) for clip in range(count)], 0)


def spoilt(x):
    return x.index_fill(0, torch.tensor([30]), torch.inf)


def test_the_states_of_a_store_are_those_of_its_clips(bodies):
    clips = synthetic_motion(bodies, 2)
    store = MotionStore.in_memory(clips)
    for number, clip in enumerate(clips):
        torch.testing.assert_close(store.states(number).to_vector(), clip.state.to_vector())


def test_a_sample_begins_at_its_state_and_is_a_rollout(model, store):
    initial = initial_of(store, 3)
    found = sample(Network(model), initial, 4, torch.Generator().manual_seed(3))
    with torch.no_grad():
        expected = model.rollout(initial, 4, generator=torch.Generator().manual_seed(3)).state
    assert torch.equal(found.to_vector()[:, 0], initial.to_vector())
    assert torch.equal(found.to_vector()[:, 1:], expected.to_vector())


def test_half_precision_is_near_and_not_the_same(model, store):
    initial = initial_of(store, 2)
    whole, half = (
        sample(Network(model, name), initial, 3, torch.Generator().manual_seed(0)) for name in ("fp32", "bf16-weights")
    )
    assert half.joints.dtype == torch.float32
    error = (half.joints - whole.joints).abs().max()
    assert 0 < error < 0.02


def test_generated_motion_survives_its_file(model, store, bodies, tmp_path):
    state = sample(Network(model), initial_of(store, 1), 6, torch.Generator().manual_seed(0)).map(lambda x: x[0])
    info = store.clips[0]
    write_amass(tmp_path / "a.npz", clip_of("a", state, store.betas[0], info.gender))
    back = read_amass(tmp_path / "a.npz")
    posed = bodies[info.gender](state.rotmats, torch.tensor(store.betas[0]).expand(7, -1), state.trans)
    torch.testing.assert_close(joints_of(back, bodies[info.gender]), posed.joints, atol=2e-6, rtol=0)
    torch.testing.assert_close(rotmats_of(back), state.rotmats, atol=2e-6, rtol=0)
    assert (back.gender, back.fps, back.poses.shape) == (info.gender, 30.0, (7, 156))
    assert (back.betas == store.betas[0]).all()
    assert not back.poses[:, 66:].any()


def test_reconstruction_is_the_posteriors_mean_decoded_step_by_step(model, store):
    truth = store.states(0).map(lambda x: x[:5])
    rolled_out, stepped = reconstruct(Network(model), truth)
    for step in range(4):
        for found, past in (
            (rolled_out, rolled_out.map(lambda x, k=step: x[k])),
            (stepped, truth.map(lambda x, k=step: x[k])),
        ):
            # Going on, the joints turn about the first frame's pivot; else about each frame's own.
            pivot = CanonicalFrame.of(truth.map(lambda x: x[0])).pivot if found is rolled_out else None
            frame = CanonicalFrame.of(past, pivot)
            seen = frame.world_to_canonical(past), frame.world_to_canonical(truth.map(lambda x, k=step: x[k + 1]))
            with torch.no_grad():
                mean = model(*seen, torch.zeros(48)).posterior.mean
                expected = frame.canonical_to_world(model.decode(seen[0], mean)[0])
            torch.testing.assert_close(found.to_vector()[step + 1], expected.to_vector(), atol=1e-5, rtol=1e-5)


def test_fewer_starts_are_the_first_of_more(store):
    many = draw_starts(store, 50, seed=1)
    assert draw_starts(store, 7, seed=1) == many[:7] != draw_starts(store, 7, seed=2)
    assert {start.clip for start in many} == set(range(len(store)))
    assert all(0 <= start.frame < store.frames[start.clip] for start in many)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda store: draw_starts(store, 0, 0),
            "num 0, seed 0: expected whole numbers, num from 1 and seed from 0.",
        ),
        (
            lambda store: clip_of("a", store.states(0).map(spoilt), store.betas[0], "male"),
            "a: not finite from 1.0 s on; train the network longer, or ask for less.",
        ),
        (lambda store: Network(None, "tf32"), "precision tf32: not on cpu, which has fp32, bf16, fp16"),
    ],
)
def test_what_cannot_be_is_one_sentence(store, call, text):
    with pytest.raises(HumorError) as error:
        call(store)
    assert str(error.value).startswith(text)


def run(checkpoint, out, *more):
    arguments = ["sample", "--checkpoint", str(checkpoint), "--out", str(out), "--seconds", "0.2", *more]
    main(arguments)


def test_the_same_seed_makes_the_same_clips(checkpoint, tmp_path, capsys):
    for name, seed in (("a", "4"), ("b", "4"), ("c", "5")):
        run(checkpoint, tmp_path / name, "--num", "2", "--seed", seed)
    clips = {name: sorted((tmp_path / name).glob("*.npz")) for name in "abc"}
    assert [path.name for path in clips["a"]] == [path.name for path in clips["b"]]
    for first, second in zip(clips["a"], clips["b"], strict=True):
        assert (read_amass(first).poses == read_amass(second).poses).all()
    assert len(read_amass(clips["a"][0]).poses) == 6
    assert any((read_amass(x).poses != read_amass(y).poses).any() for x, y in zip(clips["a"], clips["c"], strict=True))
    assert (tmp_path / "a" / "motion.html").is_file()
    assert "wrote 2 clips" in capsys.readouterr().out


def test_a_network_trained_on_posed_joints_is_sampled_and_reconstructed_so(model, checkpoint, tmp_path, capsys):
    qual = tmp_path / "qual.pt"
    save_checkpoint({"model": model.state_dict(), "settings": {"smpl_joint_inputs": True}}, qual)
    for name, path, more in (
        ("plain", checkpoint, ()),
        ("asked", checkpoint, ("--smpl-joint-inputs", "True")),
        ("trained so", qual, ()),
        ("refused", qual, ("--smpl-joint-inputs", "False")),
    ):
        run(path, tmp_path / name / "sampled", "--num", "1", *more)
        again = ["reconstruct", "--num", "1", "--seconds", "0.2", "--checkpoint", str(path)]
        main([*again, "--out", str(tmp_path / name / "again"), *more])
    for what in ("sampled", "again"):
        poses = {out.parent.name: read_amass(next(out.glob("*.npz"))).poses for out in tmp_path.glob(f"*/{what}")}
        assert (poses["asked"] == poses["trained so"]).all()
        assert (poses["plain"] == poses["refused"]).all()
        assert (poses["asked"][:2] == poses["plain"][:2]).all()  # the first step reads the truth in both
        assert (poses["asked"][2:] != poses["plain"][2:]).any()


def test_an_interruption_keeps_the_finished_clips(checkpoint, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(humor.cli.motion, "ROLLOUT_BATCH", 2)
    true_sample, calls = humor.motion.generation.sample, []

    def interrupted(*given):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return true_sample(*given)

    monkeypatch.setattr(humor.motion.generation, "sample", interrupted)
    with pytest.raises(SystemExit) as exit_code:
        run(checkpoint, tmp_path, "--num", "5")
    assert exit_code.value.code == 130
    assert sorted(path.name[:3] for path in tmp_path.glob("*.npz")) == ["000", "001"]
    assert "001_" in (tmp_path / "motion.html").read_text()
    assert "interrupted; what was written is whole" in capsys.readouterr().err


def test_a_sample_that_blows_up_is_left_out_and_said(model, tmp_path, capsys):
    weights = {name: weight.clone() for name, weight in model.state_dict().items()}
    weights["decoder.net.9.weight"] *= 1e38
    save_checkpoint({"model": weights}, tmp_path / "wild.pth")
    with pytest.raises(SystemExit):
        run(tmp_path / "wild.pth", tmp_path / "out", "--num", "2")
    printed = capsys.readouterr()
    assert printed.out.count("left out: ") == 2
    assert "not finite from" in printed.out
    assert "none of 2 samples stayed finite for 0.2 s; train the network longer." in printed.err
    assert not list((tmp_path / "out").glob("*"))


def test_reconstruct_writes_clips_and_prints_their_error(checkpoint, tmp_path, capsys):
    arguments = ["--checkpoint", str(checkpoint), "--out", str(tmp_path), "--seconds", "0.2", "--num", "2"]
    main(["reconstruct", *arguments])
    assert len(list(tmp_path.glob("*.npz"))) == 2
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.count("│") == 5]
    errors = np.array([[float(row[-4]), float(row[-2])] for row in rows[-3:]])
    np.testing.assert_allclose(errors[:2].mean(0), errors[2], atol=0.051)
    assert (errors > 0).all()


def test_a_network_is_as_wide_as_its_checkpoint(checkpoint, tmp_path):
    loaded = HumorModel.load(checkpoint)
    assert loaded.width == 1
    assert not loaded.training
    save_checkpoint({"model": {"prior_net.net.0.weight": torch.zeros(2048, 339)}}, tmp_path / "two.pth")
    with pytest.raises(HumorError, match=r"does not fit HumorModel\(width=2\): missing encoder"):
        HumorModel.load(tmp_path / "two.pth")


def test_a_missing_checkpoint_is_one_sentence(tmp_path, capsys):
    with pytest.raises(SystemExit):
        run(tmp_path / "no.pth", tmp_path / "out")
    assert capsys.readouterr().err.strip() == f"humor: {tmp_path}/no.pth: no such file; check the path."
    assert not (tmp_path / "out").exists()
