"""The map of where a precision pays is saved cell by cell, continues where it was stopped, and bounds slow cells."""

import json

import pytest

from bench.studies import crossover
from bench.studies.crossover import TABLES, TOO_SLOW, main


@pytest.fixture
def arguments(tmp_path):
    """Four cells, each no longer than its first look."""
    sizes = ["--sizes", "16", "8", "--rows", "2", "4", "--precisions", "bf16", "--device", "cpu", "--threads", "1"]
    return [*sizes, "--seconds", "0.05", "--out", str(tmp_path / "map.json")]


def content_of(arguments):
    with open(arguments[-1]) as file:
        return json.load(file)


def planted(verdicts):
    """In the place of a measurement: what it would find, cell by cell, or raise."""
    left = iter(verdicts)

    def measured(*_):
        verdict = next(left)
        if verdict is KeyboardInterrupt:
            raise verdict
        return {"verdict": verdict, "speedup": 2.0, "low": 1.5, "high": 2.5}

    return measured


def test_every_cell_is_measured_and_kept(arguments, tmp_path, capsys):
    main([*arguments[:-2], "--direction", "forward+backward", "--picture", str(tmp_path / "map.svg"), *arguments[-2:]])
    content = content_of(arguments)
    assert (content["kind"], content["sizes"], content["rows"]) == ("crossover", [8, 16], [2, 4])
    tables = content["precisions"]["bf16"]
    assert tables.keys() == set(TABLES)
    for size in range(2):
        for row in range(2):
            verdict, speedup, low, high = (tables[name][size][row] for name in TABLES)
            assert verdict in ("pays", "does not pay", "unclear")
            assert low < speedup < high
    assert "<svg" in (tmp_path / "map.svg").read_text()
    out = capsys.readouterr().out
    assert "float32's time divided by the precision's" in out
    assert f"{content['precisions']['bf16']['speedup'][0][1]:.2f}" in out


def test_a_stopped_map_continues_and_nothing_is_measured_twice(arguments, monkeypatch, capsys):
    monkeypatch.setattr(crossover, "measure_cell", planted(["pays", "does not pay", KeyboardInterrupt]))
    main(arguments)
    assert content_of(arguments)["precisions"]["bf16"]["verdict"] == [["pays", "does not pay"], [None, None]]
    assert "stopped: the same command continues." in capsys.readouterr().out
    monkeypatch.setattr(crossover, "measure_cell", planted(["unclear", "pays"]))
    main(arguments)
    assert content_of(arguments)["precisions"]["bf16"]["verdict"] == [["pays", "does not pay"], ["unclear", "pays"]]
    monkeypatch.setattr(crossover, "measure_cell", planted([]))
    main(arguments)
    assert "2.00?" in capsys.readouterr().out


def test_a_map_of_something_else_is_not_continued(arguments, monkeypatch, tmp_path):
    monkeypatch.setattr(crossover, "measure_cell", planted(["pays"] * 4))
    main(arguments)
    with pytest.raises(SystemExit) as error:
        main(["--direction", "forward+backward", *arguments])
    assert str(error.value) == (f"{arguments[-1]}: a map of another direction; name another --out, or delete it.")
    (tmp_path / "map.json").write_text("[]")
    with pytest.raises(SystemExit, match=r"a map of another format; name another --out, or delete it\.$"):
        main(arguments)


def test_cells_larger_than_a_slow_one_are_not_tried(arguments, monkeypatch, capsys):
    tried = []

    def fits(pair, seconds):
        tried.append(pair)
        return len(tried) != 2

    monkeypatch.setattr(crossover, "fits", fits)
    main(arguments)
    verdicts = content_of(arguments)["precisions"]["bf16"]["verdict"]
    assert len(tried) == 3
    assert [[word == TOO_SLOW for word in row] for row in verdicts] == [[False, True], [False, True]]
    assert content_of(arguments)["precisions"]["bf16"]["speedup"][1][1] is None
    assert " - " in capsys.readouterr().out


@pytest.mark.parametrize(("call", "fit"), [(0.001, True), (0.01, False)])
def test_a_cell_fits_where_a_round_of_pairs_does(call, fit):
    class Known:
        def seconds(self, calls):
            return call * calls

    assert crossover.fits((Known, Known), 16 * 0.005) == fit


def test_numbers_that_cannot_be_are_refused(capsys):
    with pytest.raises(SystemExit):
        main(["--sizes", "0"])
    assert "--sizes, --rows, --threads and --seconds are numbers above 0." in capsys.readouterr().err
