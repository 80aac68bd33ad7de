"""Documents as the commands write them, small: what a report is tested with. Times as on an H100, rounded."""

import json
from pathlib import Path

import numpy as np

from humor.training.log import table_columns
from humor.training.task import MotionTask

MACHINE = {
    "name": "Xeon, H100",
    "device": "NVIDIA H100",
    "torch": "2.11.0",
    "threads": 16,
    "when": "2025-11-20T10:02:11",
}
PHASES = ("wait", "prepare", "sample", "loss", "backward", "optimize")
HOST = {  # seconds of each phase
    (1, "fp32"): (0.4e-3, 1.2e-3, 2.1e-3, 9.6e-3, 19.9e-3, 2.9e-3),
    (1, "tf32"): (0.4e-3, 1.1e-3, 2.0e-3, 9.1e-3, 20.3e-3, 2.8e-3),
    (1, "bf16"): (0.4e-3, 1.2e-3, 3.4e-3, 11.2e-3, 24.0e-3, 2.9e-3),
    (4, "fp32"): (0.4e-3, 1.2e-3, 12.4e-3, 9.9e-3, 41.0e-3, 6.2e-3),
    (4, "tf32"): (0.4e-3, 1.2e-3, 3.2e-3, 9.7e-3, 24.1e-3, 6.2e-3),
    (4, "bf16"): (0.4e-3, 1.2e-3, 3.9e-3, 11.0e-3, 26.2e-3, 6.3e-3),
}
CASES = ("linear, 1024", "linear, 4096", "sampling, 8 windows", "sampling, 200 windows, 4x", "train step, 200 windows")
HALVES = {"tf32": 1.0, "fp16": 0.8, "bf16": 0.9}  # of the tf32 speed-up


def profile():
    """Six runs and six layers."""
    runs = [
        {
            "width": width,
            "precision": precision,
            "phases": {
                name: {"host": seconds, "device": None if name == "wait" else 0.7 * seconds, "first": 3 * seconds}
                for name, seconds in zip(PHASES, times, strict=True)
            },
            "step": sum(times),
            "step_low": 0.97 * sum(times),
            "step_high": 1.06 * sum(times),
            "peak_bytes": (1.08e9 if width == 1 else 4.3e9) * (0.8 if precision == "bf16" else 1.0),
        }
        for (width, precision), times in HOST.items()
    ]
    linear = [
        {"size": size, "rows": 2000, "precision": precision, "casts": casts, "launch": 9e-6, "kernel": kernel,
         "total": casts + 9e-6 + kernel}
        for size, precision, casts, kernel in (
            (1024, "fp32", 0.0, 90e-6), (1024, "tf32", 0.0, 21e-6), (1024, "bf16", 19e-6, 11e-6),
            (4096, "fp32", 0.0, 1.4e-3), (4096, "tf32", 0.0, 230e-6), (4096, "bf16", 61e-6, 120e-6),
        )
    ]  # fmt: skip
    return {"kind": "profile", "machine": MACHINE, "batch": 200, "steps": 20, "runs": runs, "linear": linear}


def precisions():
    """Fifteen cases, one of them wrong."""
    cases = []
    for case, speedup in zip(CASES, (1.4, 4.8, 0.92, 4.0, 1.3), strict=True):
        for precision, factor in HALVES.items():
            middle = speedup * factor
            wrong = (case, precision) == (CASES[4], "fp16")
            pays = 0.96 * middle > 1
            cases.append({
                "case": case, "precision": precision, "speedup": middle, "low": 0.96 * middle, "high": 1.05 * middle,
                "verdict": "wrong" if wrong else "pays" if pays else "does not pay", "seconds": 9e-3 / middle,
                "error": 4.4e-2 if wrong else 6e-3 * factor, "bound": 3e-2,
                "reason": "the error is beyond its bound" if wrong else "", "rows": 2000,
            })  # fmt: skip
    return {"kind": "precisions", "machine": MACHINE, "cases": cases}


def crossover():
    """Five sizes by five rows in two precisions."""
    sizes, rows = [256, 512, 1024, 2048, 4096], [10, 80, 400, 2000, 8000]
    work = np.log10(np.outer(np.square(sizes), rows))
    tables = {}
    for precision, factor in (("bf16", 1.0), ("fp16", 0.85)):
        speedup = factor * (0.4 + 0.012 * np.maximum(work - 4.5, 0) ** 3.3)
        tables[precision] = {
            key: (speedup * off).tolist() for key, off in (("speedup", 1), ("low", 0.93), ("high", 1.08))
        }
    return {"kind": "crossover", "machine": MACHINE, "sizes": sizes, "rows": rows, "precisions": tables}


def prediction():
    """The study's eight numbers, two of them fitted, and three cases."""
    published = [
        (2, 1, "prepare", "fp32", 3.80, 3.9, True), (2, 1, "prepare", "fp16", 4.11, 4.2, False),
        (2, 1, "sample", "fp32", 6.36, 6.4, True), (2, 1, "sample", "fp16", 8.42, 8.9, False),
        (2, 1, "loss", "fp32", 84.47, 80.1, False), (2, 1, "loss", "fp16", 98.05, 91.0, False),
        (3, 4, "sample", "fp32", 17.11, 19.0, False), (3, 4, "sample", "fp16", 9.00, 10.4, False),
    ]  # fmt: skip
    names = ("table", "width", "phase", "precision", "published_ms", "predicted_ms", "fitted")
    cases = [
        {
            "case": case,
            "precision": "fp16",
            "predicted": s,
            "bound_by": bound,
            "flops": 4e9,
            "bytes": 6e7,
            "kernels": 92,
        }
        for case, s, bound in (
            ("linear, 1024", 6.1e-4, "launch"),
            ("linear, 4096", 2.4e-3, "compute"),
            ("loss", 4.1e-2, "memory"),
        )
    ]
    rows = [dict(zip(names, row, strict=True)) for row in published]
    return {"kind": "prediction", "machine": MACHINE, "gpu": "T4", "constants": {"launch": 5e-6}, "published": rows,
            "cases": cases}  # fmt: skip


def roofline():
    """Eight points under three roofs."""
    points = [
        {"case": case, "precision": precision, "flops": flops, "bytes": size, "seconds": seconds}
        for case, precision, flops, size, seconds in (
            ("linear, 1024", "fp32", 4.2e9, 2.1e7, 9.9e-5), ("linear, 1024", "bf16", 4.2e9, 1.0e7, 3.9e-5),
            ("linear, 4096", "fp32", 6.7e10, 1.3e8, 1.4e-3), ("linear, 4096", "tf32", 6.7e10, 1.3e8, 2.4e-4),
            ("linear, 4096", "bf16", 6.7e10, 6.6e7, 1.9e-4), ("kinematics", "fp32", 3.1e7, 9.0e6, 6.1e-5),
            ("loss step", "fp32", 8.8e10, 6.0e9, 1.1e-2), ("loss step", "tf32", 8.8e10, 6.0e9, 9.1e-3),
        )
    ]  # fmt: skip
    peaks = {"fp32": 5.1e13, "tf32": 3.8e14, "bf16": 7.6e14}
    return {"kind": "roofline", "machine": MACHINE, "peaks": peaks, "bandwidth": 3.3e12, "points": points}


def verdicts():
    """Five cases of the gate, one of them slower."""
    found = (
        ("loss_step.py::bench_loss_step[fp32-small-forward+backward-ours]", "slower", 0.094, 0.021, 0.171, 0.15, 18.18),
        ("train_step.py::bench_train_step[fp32-small-ours]", "unclear", 0.033, -0.049, 0.118, 0.1, 80.03),
        ("sampling.py::bench_sampling[fp32-small]", "passes", 0.004, -0.015, 0.024, 0.018, 9.158),
        ("linear.py::bench_linear[fp32-1024-forward]", "passes", 0.001, -0.024, 0.025, 0.02, 1.433),
        ("kinematics.py::bench_kinematics[fp32-study-joints-ours]", "faster", -0.061, -0.088, -0.037, -0.04, 0.4812),
    )
    cases = [
        {"case": f"bench_{name}", "verdict": word, "change": change, "low": low, "high": high, "upper_bound": bound,
         "pairs": 40, "base_ms": base, "head_ms": base * (1 + change), "log_ratios": [[change]]}
        for name, word, change, low, high, bound, base in found
    ]  # fmt: skip
    return {
        "kind": "verdicts", "machine": MACHINE, "fingerprint": {"cpu": "Xeon"}, "exit": 1, "verdict": "slower",
        "reason": "",
        "cases": cases, "controls": [cases[3] | {"case": "control"}],
        "untouched": ["bench_fit.py::bench_fit[fp32-one]"],
        "not_run": ["humor.errors.unused"], "warnings": ["busy machine: wait."],
        "versions": {"base": {"ref": "main"}, "head": {"ref": "working tree", "dirty": True}},
        "settings": {"slower_than": 0.03}, "failed": [], "seconds": 24.0,
    }  # fmt: skip


def saved_run(number=0, machine="a", **medians):
    """A run of pytest-benchmark's with eight cases; the later ones of some are slower, others' faster."""
    base = {f"bench_linear[{p}-{s}-forward]": 1e-3 * s / 1024 for s in (1024, 4096) for p in ("fp32", "bf16")}
    base |= {f"bench_train_step[{p}-training-ours]": 36e-3 for p in ("fp32", "tf32", "fp16", "bf16")}
    noise = np.random.default_rng(number).normal(1, 0.006, len(base))
    times = {name: median * wobble for (name, median), wobble in zip(base.items(), noise, strict=True)}
    if number >= 2:
        times["bench_train_step[fp32-training-ours]"] *= 1.22
    if number >= 3:
        times["bench_linear[bf16-4096-forward]"] *= 0.7
    times |= medians
    return {
        "machine_info": {"cpu": {"brand_raw": "Xeon"}, "device": "NVIDIA H100", "torch": "2.11.0", "threads": 16,
                         "fingerprint": {"machine": machine}},
        "commit_info": {"id": f"{number}abcdef0123456789"},
        "datetime": f"2025-11-{10 + number:02d}T09:30:00.123456+00:00",
        "version": "5.3.1",
        "benchmarks": [
            {"name": name, "fullname": f"bench/bench_x.py::{name}", "group": "x",
             "extra_info": {"precision": name.partition("[")[2].partition("-")[0]},
             "stats": {"median": m, "q1": 0.985 * m, "q3": 1.02 * m, "rounds": 80}}
            for name, m in times.items()
        ],
    }  # fmt: skip


def training_run(folder: Path, epochs=8, factor=1.0, seed=0):
    """The tables of a run's folder."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    curve = [(3 * 0.7**e + 0.2) * rng.normal(factor, 0.02) for e in range(epochs)]
    tables = {
        "epochs.csv": [(e, 1e-4, 1, loss, 1.1 * loss * rng.normal(1, 0.02), 1) for e, loss in enumerate(curve)],
        "times.csv": [(e, 100, 0.11, 0.02, 0.52 * factor, 0.55, 0.52, 0.52, 0.68, 0) for e in range(epochs)],
    }
    for file, rows in tables.items():
        lines = [table_columns(MotionTask.loss_terms, ())[file], *rows]
        (folder / file).write_text("".join(",".join(map(str, line)) + "\n" for line in lines))
    return folder


def study(folder: Path, precisions=("fp32", "fp16", "bf16"), seeds=3):
    """A study's folder."""
    for seed in range(seeds):
        for number, name in enumerate(precisions):
            training_run(folder / f"{name}-seed{seed}", factor=1 + 0.01 * number, seed=seed)
    (folder / "study.json").write_text(json.dumps({"precisions": precisions, "seeds": seeds, "epochs": 8}))
    return folder


def everything(folder: Path) -> list[Path]:
    """A file or a folder for each kind; four saved runs."""
    documents = [verdicts(), precisions(), profile(), crossover(), roofline(), *map(saved_run, range(4)), prediction()]
    files = []
    for number, document in enumerate(documents):
        files.append(folder / f"{document.get('kind', 'run')}{number}.json")
        files[-1].write_text(json.dumps(document))
    return [*files, study(folder / "study")]
