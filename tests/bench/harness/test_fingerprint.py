"""A baseline is refused where machine, software or settings differ from now, and each difference is named."""

import dataclasses
import json
import os
import stat
import types

import numpy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.harness.environment import fingerprint_probe
from bench.harness.environment.fingerprint import Fingerprint, differences, refusal
from bench.harness.environment.fingerprint_probe import (
    GPU_FIELDS,
    VARIABLES,
    describe_machine,
    machine_hash,
    ranges,
    take_fingerprint,
)
from bench.harness.environment.nvidia import gpu_query, no_gpu

WORDS = {field.name: field.metadata["words"] for field in dataclasses.fields(Fingerprint)}
fingerprints = st.builds(Fingerprint)


def here(root, gpu=no_gpu):
    return take_fingerprint("cpu", root, gpu)


@given(fingerprints, fingerprints)
def test_differences_are_none_exactly_for_equals_and_from_both_sides(one, other):
    assert (differences(one, other) == []) == (one == other)
    assert len(differences(one, other)) == len(differences(other, one))
    assert differences(one, one) == []
    assert (refusal(dataclasses.asdict(one), other) is None) == (one == other)


@given(fingerprints, fingerprints)
def test_each_changed_field_is_named_once(one, other):
    for field in WORDS:
        changed = dataclasses.replace(one, **{field: getattr(other, field)})
        if changed != one:
            (sentence,) = differences(one, changed)
            assert sentence.startswith(f"{WORDS[field]} ")
            assert sentence.endswith(" now")
    assert len(set(WORDS.values())) == len(WORDS)


@given(fingerprints)
def test_a_fingerprint_survives_json(fingerprint):
    assert Fingerprint.read(json.loads(json.dumps(dataclasses.asdict(fingerprint)))) == fingerprint


@pytest.fixture
def then(tmp_path):
    taken = dataclasses.replace(here(tmp_path), torch="2.12.0", cpu="Model B", cores=4, cudnn_benchmark=False)
    return dataclasses.asdict(taken)


@pytest.mark.parametrize(
    ("now", "sentence"),
    [
        (
            {"torch": "2.13.0"},
            "with other software: PyTorch 2.12.0 then, 2.13.0 now; measure a new baseline here.",
        ),
        (
            {"cpu": "Model C", "cores": None, "torch": "2.13.0"},
            "on another machine: CPU Model B then, Model C now; CPU cores 4 then, none now; "
            "and with other software: PyTorch 2.12.0 then, 2.13.0 now; measure a new baseline here.",
        ),
        (
            {"cudnn_benchmark": True},
            "under other settings: cuDNN's benchmark mode off then, on now; "
            "set them back, or measure a new baseline here.",
        ),
    ],
)
def test_a_refusal_is_one_sentence_that_names_what_changed(then, now, sentence):
    assert refusal(then, Fingerprint(**(then | now))) == f"refused: the baseline was measured {sentence}"


BY_HOST_NAME = (
    "the machines are known by their host names, which every container has anew: if it is one machine, give both runs "
    "one --machine NAME, or docker run --hostname; else measure a new baseline here."
)


@pytest.mark.parametrize(
    ("hashes", "more", "mend"),
    [
        (("d91b", "0f73"), {}, BY_HOST_NAME),
        (("d91b", "0f73aa11bb22"), {}, BY_HOST_NAME),
        (("d91baa11bb22", "0f73aa11bb22"), {}, "measure a new baseline here."),
        (("d91b", "0f73"), {"cpu": "Model C"}, "measure a new baseline here."),
    ],
)
def test_machines_that_a_host_name_alone_tells_apart_may_be_one_in_two_containers(then, hashes, more, mend):
    there, here = hashes
    sentence = refusal(then | {"machine": there}, Fingerprint(**(then | {"machine": here} | more)))
    assert sentence.startswith("refused: the baseline was measured on another machine: ")
    assert f": machine {there} then, {here} now; " in sentence
    assert sentence.endswith(f"; {mend}")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda found: [1], "it is a list, not an object"),
        (lambda found: {name: found[name] for name in found if name not in ("torch", "cpu")}, "it lacks cpu, torch"),
        (lambda found: found | {"weight": 3}, "it has unknown weight"),
        (lambda found: found | {"threads": "2"}, "its threads is '2'"),
        (lambda found: found | {"threads": True}, "its threads is True"),
        (lambda found: found | {"torch": None}, "its torch is None"),
    ],
)
def test_a_damaged_fingerprint_is_refused(then, damage, reason):
    sentence = refusal(damage(then), Fingerprint(**then))
    assert sentence == f"refused: the baseline's fingerprint cannot be used, {reason}; measure a new baseline here."


def test_a_missing_fingerprint_is_refused(then):
    sentence = refusal(None, Fingerprint(**then))
    assert sentence == "refused: the baseline does not say where it was measured; measure a new baseline here."


# Readings from files made for the test.


def write(root, **files):
    for path, content in files.items():
        file = root / path.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content + "\n")


def test_two_readings_are_equal():
    first = take_fingerprint("cpu")
    assert differences(first, take_fingerprint("cpu")) == []
    assert (first.device, first.torch, first.threads) == ("cpu", torch.__version__, torch.get_num_threads())
    assert first.driver is None  # a time on the CPU does not depend on it


def test_a_machine_is_described_by_its_fingerprint_and_the_time():
    fingerprint, machine = take_fingerprint(), describe_machine(threads=3)
    assert machine.keys() == {"name", "device", "torch", "threads", "when"}
    assert (machine["name"], machine["device"]) == (fingerprint.cpu, "cpu")
    assert (machine["torch"], machine["threads"]) == (fingerprint.torch, 3)
    assert describe_machine()["threads"] == fingerprint.threads


def test_what_cannot_be_read_is_none(tmp_path):
    found = here(tmp_path)
    for name in ("memory_gib", "cpu_quota", "governor", "max_mhz", "turbo", "smt", "huge_pages", *GPU_FIELDS):
        assert getattr(found, name) is None


def test_cpu_and_memory_come_from_proc(tmp_path):
    write(
        tmp_path,
        proc__cpuinfo="processor\t: 0\nmodel name\t: Model A\n\nprocessor\t: 1\nmodel name\t: Model A",
        proc__meminfo="MemTotal:       25000000 kB\nMemFree: 3 kB",
    )
    assert (here(tmp_path).cpu, here(tmp_path).memory_gib) == ("Model A", 24)


def test_machines_have_different_hashes_that_do_not_name_them(tmp_path, monkeypatch):
    write(tmp_path, **{"etc__machine-id": "3d12aabb"})
    found = here(tmp_path).machine
    assert found == machine_hash("3d12aabb", "host")
    assert found != machine_hash("3d12aabc", "host")
    assert "3d12" not in found
    monkeypatch.setattr(fingerprint_probe.platform, "node", lambda: "alice")
    by_name = here(tmp_path / "none").machine
    assert by_name == machine_hash(None, "alice") != machine_hash(None, "bob")
    assert len(by_name) == 4
    assert machine_hash(None, "") is None


def test_a_machine_that_is_given_a_name_is_known_by_it_under_any_host_name(tmp_path, monkeypatch):
    write(tmp_path, **{"etc__machine-id": "3d12aabb"})
    monkeypatch.setattr(fingerprint_probe.platform, "node", lambda: "e9725d308091")
    found = take_fingerprint("cpu", tmp_path, machine="box").machine
    monkeypatch.setattr(fingerprint_probe.platform, "node", lambda: "41ab99c2d0f1")
    assert take_fingerprint("cpu", tmp_path / "none", machine="box").machine == found
    assert take_fingerprint("cpu", tmp_path, machine="other").machine != found
    assert (len(found), "box" in found) == (12, False)


def test_the_cpu_policy_comes_from_sys(tmp_path):
    for number in os.sched_getaffinity(0):
        policy = tmp_path / f"sys/devices/system/cpu/cpu{number}/cpufreq"
        write(policy, scaling_governor="powersave", scaling_max_freq="3400000")
    elsewhere = max(os.sched_getaffinity(0)) + 1
    write(tmp_path / f"sys/devices/system/cpu/cpu{elsewhere}/cpufreq", scaling_governor="performance")
    write(tmp_path / "sys/devices/system/cpu", smt__active="1")
    write(tmp_path / "sys/kernel/mm/transparent_hugepage", enabled="always [madvise] never")
    found = here(tmp_path)
    assert (found.governor, found.max_mhz, found.smt, found.huge_pages) == ("powersave", 3400, True, "madvise")


@pytest.mark.parametrize(
    ("file", "content", "turbo"),
    [
        ("intel_pstate__no_turbo", "1", False),
        ("intel_pstate__no_turbo", "0", True),
        ("cpufreq__boost", "1", True),
        ("cpufreq__boost", "0", False),
        ("cpufreq__boost", "?", None),
    ],
)
def test_turbo_comes_from_either_driver(tmp_path, file, content, turbo):
    write(tmp_path / "sys/devices/system/cpu", **{file: content})
    assert here(tmp_path).turbo is turbo


@pytest.mark.parametrize(("limit", "quota"), [("max 100000", None), ("150000 100000", "1.5 cores")])
def test_the_quota_of_a_container_is_in_cores(tmp_path, limit, quota):
    write(tmp_path / "sys/fs/cgroup", **{"cpu.max": limit})
    assert here(tmp_path).cpu_quota == quota


@pytest.mark.parametrize(("name", "field"), [("OMP_NUM_THREADS", "omp_num_threads"), ("MKL_NUM_THREADS",) * 2])
def test_thread_counts_come_from_the_environment(tmp_path, monkeypatch, name, field):
    monkeypatch.delenv(name, raising=False)
    assert getattr(here(tmp_path), field.lower()) is None
    monkeypatch.setenv(name, "7")
    assert getattr(here(tmp_path), field.lower()) == "7"


def test_environment_variables_that_change_times_are_listed_without_folders(tmp_path, monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert here(tmp_path).environment is None
    monkeypatch.setenv("LD_PRELOAD", "/home/alice/lib/libjemalloc.so:/x/libb.so")
    monkeypatch.setenv("CUDA_LAUNCH_BLOCKING", "1")
    assert here(tmp_path).environment == "CUDA_LAUNCH_BLOCKING=1 LD_PRELOAD=libjemalloc.so:libb.so"


def test_affinity_is_written_as_linux_does(tmp_path):
    assert ranges({0, 1, 2, 5, 7, 8}) == "0-2,5,7-8"
    assert here(tmp_path).affinity == ranges(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("module", "switch", "value", "field", "seen"),
    [
        (torch.backends.cudnn, "benchmark", True, "cudnn_benchmark", True),
        (torch.backends.cudnn, "deterministic", True, "cudnn_deterministic", True),
        (torch.backends.cudnn, "allow_tf32", False, "cudnn_tf32", "off"),
        (torch.backends.cuda.matmul, "allow_tf32", True, "matmul_tf32", "on"),
    ],
)
def test_precision_switches_are_part_of_the_fingerprint(tmp_path, module, switch, value, field, seen):
    assert getattr(here(tmp_path), field) != seen
    before = getattr(module, switch)
    try:
        setattr(module, switch, value)
        assert getattr(here(tmp_path), field) == seen
    finally:
        setattr(module, switch, before)


def test_the_precision_of_multiplies_is_part_of_the_fingerprint(tmp_path):
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        assert here(tmp_path).float32_matmul_precision == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


def test_deterministic_algorithms_and_threads_are_part_of_the_fingerprint(tmp_path):
    threads = torch.get_num_threads()
    try:
        torch.use_deterministic_algorithms(True)
        torch.set_num_threads(threads + 1)
        assert (here(tmp_path).deterministic, here(tmp_path).threads) == (True, threads + 1)
    finally:
        torch.use_deterministic_algorithms(False)
        torch.set_num_threads(threads)


def test_the_newer_tf32_switch_overrules_the_older(tmp_path, monkeypatch):
    class Mixed:
        fp32_precision = "tf32"

        @property
        def allow_tf32(self):
            raise RuntimeError("mix of the legacy and new APIs")

    monkeypatch.setattr(torch.backends.cuda, "matmul", Mixed())
    found = here(tmp_path)
    assert (found.matmul_tf32, found.matmul_fp32_precision) == ("overruled", "tf32")


def test_versions_are_part_of_the_fingerprint(tmp_path, monkeypatch):
    monkeypatch.setattr(fingerprint_probe.platform, "python_version", lambda: "9.5")
    monkeypatch.setattr(fingerprint_probe.platform, "system", lambda: "Linux")
    monkeypatch.setattr(fingerprint_probe.platform, "release", lambda: "9.6")
    monkeypatch.setattr(torch, "__version__", "9.1")
    monkeypatch.setattr(torch, "version", types.SimpleNamespace(cuda="9.2"))
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 93)
    monkeypatch.setattr(numpy, "__version__", "9.4")
    found = here(tmp_path)
    assert (found.torch, found.cuda, found.cudnn, found.numpy) == ("9.1", "9.2", 93, "9.4")
    assert (found.python, found.system) == ("9.5", "Linux 9.6")


# Readings from a fake nvidia-smi.

SMI = """#!/bin/sh
fields=${{2#--query-gpu=}}
case "$fields" in *{unknown}*) echo 'Field "{unknown}" is not a valid field to query.'; exit 2;; esac
test "$1" = --id=GPU-1 || exit 6
echo "$fields" | sed -e 's/driver_version/595.71/' -e 's/power.limit/700.00 W/' -e 's/mig.mode.current/[N\\/A]/' \
  -e 's/persistence_mode/Enabled/' -e 's/ecc.mode.current/Disabled/' -e 's/clocks.applications.[a-z]*/1980 MHz/g' \
  -e 's/,/, /g'
"""


@pytest.fixture
def smi(tmp_path, monkeypatch):
    def install(unknown="no.such.field"):
        program = tmp_path / "nvidia-smi"
        program.write_text(SMI.format(unknown=unknown))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    return install


def test_the_gpu_policy_comes_from_nvidia_smi(tmp_path, smi):
    smi()
    found = here(tmp_path, gpu_query("GPU-1"))
    assert (found.driver, found.power_limit, found.persistence) == ("595.71", "700.00 W", "Enabled")
    assert (found.graphics_clock, found.memory_clock) == ("1980 MHz", "1980 MHz")
    assert (found.ecc, found.mig) == ("Disabled", None)


def test_a_field_that_the_driver_does_not_know_leaves_the_others(tmp_path, smi):
    smi(unknown="clocks.applications.memory")
    found = here(tmp_path, gpu_query("GPU-1"))
    assert (found.graphics_clock, found.memory_clock, found.driver) == ("1980 MHz", None, "595.71")


def test_a_gpu_that_nvidia_smi_does_not_know_has_no_fields(smi):
    smi()
    assert gpu_query("GPU-2")(["driver_version"]) == {}
    assert gpu_query(None)(["driver_version"]) == {}


def test_without_nvidia_smi_there_are_no_fields(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu_query("GPU-1")(["driver_version"]) == {}


@pytest.mark.cuda
def test_a_real_gpu_has_fields():
    found = take_fingerprint("cuda")
    assert found.device == torch.cuda.get_device_name()
    assert found.driver is not None
