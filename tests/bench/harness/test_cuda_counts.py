"""Kernels are counted by name from a profile of some calls, all alike, and held for a GPU and a PyTorch."""

import pytest
import torch

from bench.harness.counters.counts_file import CountsError, compare_counts, read_counts
from bench.harness.counters.cuda_launches import (
    CALLS,
    GAP,
    LONGEST,
    count_cuda_launches,
    counts_of_trace,
    short_kernel_name,
    trace_calls,
)
from bench.harness.modes import counts_mode
from bench.harness.modes.counts_mode import CHANGED, EQUAL, Tally, gpu_slug
from bench.harness.output.verdict_table import REFUSED
from bench.harness.project import Project
from tests.support.pytest_process import run_here

ADD = "void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<float>, std::array<char*, 3ul> >()"
COPY_LAMBDA = (
    "at::native::direct_copy_kernel_cuda(at::TensorIteratorBase&)::{lambda()#3}::operator()() const"
    "::{lambda()#7}::operator()() const::{lambda(float)#1}"
)
COPY = (
    f"void at::native::elementwise_kernel<128, 2, at::native::gpu_kernel_impl_nocast<{COPY_LAMBDA}>"
    f"(at::TensorIteratorBase&, {COPY_LAMBDA} const&)::{{lambda(int)#1}}>(int, at::native::gpu_kernel_impl_nocast"
    f"<{COPY_LAMBDA}>(at::TensorIteratorBase&, {COPY_LAMBDA} const&)::{{lambda(int)#1}})"
)
GEMM = "sm90_xmma_gemm_f32f32_tf32f32_f32_tn_n_tilesize64x64x32_execute_kernel__5x_cublas"
GPU = "NVIDIA H100 80GB HBM3"


def trace(*calls, skew=0.0, warm="kernel"):
    """A Chrome trace of calls, each a list of categories and names; device and host clocks differ by `skew` in us."""
    events = [{"ph": "M", "name": "process_name", "ts": 0.0, "args": {}}]
    events.append({"ph": "X", "cat": warm, "name": "void fill()", "ts": 10.0 + skew, "dur": 1.0})
    now = 10.0 + 1e6 * GAP
    for call in calls:
        events.append({"ph": "X", "cat": "user_annotation", "name": "counted call", "ts": now, "dur": 100.0})
        events.append({"ph": "X", "cat": "gpu_user_annotation", "name": "counted call", "ts": now + skew, "dur": 90.0})
        for place, (category, name) in enumerate(call):
            ts = now + 5.0 + place + (0.0 if category.startswith("cuda_") else skew)
            events.append({"ph": "X", "cat": category, "name": name, "ts": ts, "dur": 0.5, "args": {}})
        events.append(
            {"ph": "X", "cat": "cuda_runtime", "name": "cudaDeviceSynchronize", "ts": now + 101.0, "dur": 9.0}
        )
        now += 120.0 + 1e6 * GAP
    return events


STEP = [
    ("cuda_runtime", "cudaLaunchKernel"),
    ("cuda_driver", "cuLaunchKernelEx"),
    ("cuda_runtime", "cudaGraphLaunch"),
    ("cuda_runtime", "cudaMemcpyAsync"),
    ("cuda_runtime", "cudaStreamSynchronize"),
    ("cpu_op", "aten::add"),
    ("kernel", ADD),
    ("kernel", GEMM),
    ("kernel", ADD),
    ("gpu_memcpy", "Memcpy DtoH (Device -> Pageable)"),
    ("gpu_memset", "Memset (Device)"),
]


@pytest.mark.parametrize("skew", [0.0, 3000.0, -3000.0])
def test_kernels_copies_and_launches_of_one_call_are_counted_whatever_the_clocks_are_off_by(skew):
    assert counts_of_trace(trace(STEP, STEP, STEP, skew=skew)) == {
        "kernels": {"vectorized_elementwise_kernel<4, CUDAFunctor_add<float>, array<char*, 3>>": 2, GEMM: 1},
        "copies": {"Memcpy DtoH (Device -> Pageable)": 1, "Memset (Device)": 1},
        "totals": {"kernel launches": 2, "graph launches": 1, "copies and fills": 1, "waits": 1},
    }


def test_a_call_that_leaves_the_device_alone_has_no_counts():
    assert counts_of_trace(trace([], [], [])) == {}


def test_a_profiler_that_sees_no_device_is_no_call_without_kernels():
    with pytest.raises(CountsError, match=r"^the profiler saw no kernel on the device; end what else profiles it"):
        counts_of_trace(trace([], [], [], warm="cpu_op"))


def test_the_ranges_are_those_of_a_trace_of_this_pytorch():
    """A kernel is put into each call's part of a real trace, which on a CPU has all but kernels."""
    done = []
    events = trace_calls(lambda: done.append(torch.ones(3)), torch.device("cpu"))
    starts = [event["ts"] for event in events if event["name"] == "counted call"]
    assert len(done) == len(starts) == CALLS
    kernels = [{"cat": "kernel", "name": "void seen(int)", "ts": start + 1.0, "dur": 1.0} for start in starts]
    assert counts_of_trace([*events, *kernels]) == {"kernels": {"seen": 1}}


@pytest.mark.parametrize(
    ("calls", "sentence"),
    [
        # the first by when it runs, not by name, and in whichever call
        (([("kernel", "z"), ("kernel", "a")], [], []), "kernel z: 1 in the first of 3 calls, 0 in call 2; "),
        (([("kernel", "a")], [("kernel", "a")], [("kernel", "a"), ("kernel", "b")]),
         "kernel b: 0 in the first of 3 calls, 1 in call 3; what a case does must not change from call to call."),
        ((STEP, [*STEP, ("kernel", ADD)], STEP), "kernel vectorized_elementwise_kernel<4, CUDAFunctor_add<float>, array"
         "<char*, 3>>: 2 in the first of 3 calls, 3 in call 2; "),
        ((STEP, STEP[:-1], STEP), "Memset (Device): 1 in the first of 3 calls, 0 in call 2; "),
        ((STEP, STEP[1:], STEP), "kernel launches: 2 in the first of 3 calls, 1 in call 2; "),
    ],
)  # fmt: skip
def test_a_call_that_does_not_do_the_same_again_is_refused_by_its_first_kernel(calls, sentence):
    assert len(calls) == CALLS
    with pytest.raises(CountsError) as error:
        counts_of_trace(trace(*calls))
    assert str(error.value).startswith(sentence)


def test_a_planted_kernel_is_named_in_the_difference():
    before = counts_of_trace(trace(STEP, STEP, STEP))
    planted = [*STEP, ("cuda_runtime", "cudaLaunchKernel"), ("kernel", COPY), ("kernel", GEMM)]
    assert compare_counts(before, counts_of_trace(trace(planted, planted, planted))) == [
        "kernel elementwise_kernel<128, 2, gpu_kernel_impl_nocast<direct_copy_kernel_cuda[float]>[int]>: 0 -> 1 (new)",
        f"kernel {GEMM}: 1 -> 2 (x2)",
        "kernel launches: 2 -> 3 (x1.5)",
    ]


@pytest.mark.parametrize(
    ("name", "short"),
    [
        (COPY, "elementwise_kernel<128, 2, gpu_kernel_impl_nocast<direct_copy_kernel_cuda[float]>[int]>"),
        (GEMM, GEMM),
        ("triton_poi_fused_add_0", "triton_poi_fused_add_0"),
        ("void cutlass::Kernel2<cutlass_80_simt>(cutlass_80_simt::Params)", "Kernel2<cutlass_80_simt>"),
        ("void a::(anonymous namespace)::Cat<a::Opaque<4u>, unsigned int>(a::(anonymous namespace)::Opaque<4u>*)",
         "Cat<Opaque<4>, unsigned int>"),
        ("void a::b<float const>(float const*, int)", "b<float>"),
    ],
)  # fmt: skip
def test_a_kernel_is_named_by_its_template_arguments(name, short):
    assert short_kernel_name(name) == short


def test_kernels_that_differ_keep_names_that_differ():
    square, cube = (f"void k<4, pow_impl<float>(It&)::{{lambda(float)#{number}}} >(int)" for number in (1, 2))
    assert short_kernel_name(square) == "k<4, pow_impl<float>[float]>"
    assert short_kernel_name(cube) == "k<4, pow_impl<float>[float#2]>"
    long = [f"void k<{'a, ' * 60}{last}>(int)" for last in "xy"]
    assert len({short_kernel_name(name) for name in long}) == 2
    assert {len(short_kernel_name(name)) for name in long} == {LONGEST}


def test_counts_of_a_gpu_have_a_folder_for_it_and_for_a_build_of_pytorch(tmp_path):
    tally = Tally(tmp_path, False, {("bench_x", "bench_x[a]")}, gpu=GPU)
    assert gpu_slug(GPU) == "nvidia-h100-80gb-hbm3"
    assert tally.files == tmp_path / "nvidia-h100-80gb-hbm3" / f"torch-{torch.__version__}"
    with pytest.raises(CountsError) as error:
        tally.require_files()
    again = "run pytest bench --accept-counts --device cuda to make them."
    assert str(error.value) == f"no counts of {GPU} with PyTorch {torch.__version__}; {again}"
    tally.files.mkdir(parents=True)
    with pytest.raises(
        CountsError, match=r"^bench_x\.json: no such file in torch-.*/; run .* --device cuda to make it"
    ):
        tally.require_files()


def test_a_run_accepts_holds_and_refuses_the_kernels_of_a_gpu(tmp_path, monkeypatch):
    """The mode from end to end, over traces that are given in place of a GPU's."""
    case, seen = "bench_linear[fp32-1024-forward]", [STEP, STEP, STEP]
    (tmp_path / "bench_linear.py").touch()
    monkeypatch.setattr(Project, "counts_folder", property(lambda project: tmp_path / "counts"))
    monkeypatch.setattr(counts_mode, "gpu_name", lambda device: GPU)
    monkeypatch.setattr(
        "bench.harness.counters.cuda_launches.count_cuda_launches", lambda call: counts_of_trace(trace(*seen))
    )

    def count(option, code):
        result = run_here(
            "bench/bench_linear.py", option, "-q", "-k", "fp32-1024-forward and not wide and not backward"
        )
        assert result.returncode == code, result.stdout + result.stderr
        return result.stdout + result.stderr

    assert "no counts of NVIDIA H100" in count("--counts", REFUSED)
    assert "counts of 1 cases accepted" in count("--accept-counts", EQUAL)
    held = read_counts(tmp_path / "counts" / gpu_slug(GPU) / f"torch-{torch.__version__}" / "bench_linear.json")
    assert held.cases == {case: counts_of_trace(trace(*seen))}
    assert "counts of 1 cases: all equal" in count("--counts", EQUAL)
    seen[:] = [[*STEP, ("kernel", COPY)]] * 3
    assert f"{case}\n  kernel elementwise_kernel<128, 2, " in count("--counts", CHANGED)
    seen[2] = STEP
    said = count("--counts", REFUSED)
    assert "kernel elementwise_kernel<128, 2, gpu_kernel_impl_nocast<direct_copy_kernel_cuda[float]>[int]>: 1 " in said
    assert f"refused: {case} failed or was skipped" in said


@pytest.mark.cuda
def test_a_device_is_seen_to_launch_and_to_wait():
    x = torch.ones(1000, device="cuda")
    x.sum().item()
    counted = count_cuda_launches(lambda: (x * 2).sum().item())
    assert counted["totals"]["kernel launches"] == sum(counted["kernels"].values()) >= 2
    assert counted["totals"]["waits"] >= 1
    once = count_cuda_launches(lambda: x * 2)
    assert once["totals"] == {"kernel launches": 1}
    assert sum(once["kernels"].values()) == 1
    assert all(name.startswith("vectorized_elementwise_kernel<") for name in once["kernels"])


@pytest.mark.cuda
def test_a_device_is_seen_to_do_something_else_each_time():
    x, times = torch.ones(1000, device="cuda"), iter(range(9))
    with pytest.raises(CountsError, match=r"^kernel .*: 0 in the first of 3 calls, 1 in call 2"):
        count_cuda_launches(lambda: [x.exp() for _ in range(next(times))])
