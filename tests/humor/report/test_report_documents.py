"""What a report cannot read is refused in one sentence, before anything is written."""

import copy
import json

import pytest

from humor.cli.app import main
from humor.errors import FileError
from humor.report import as_document, read_document, render_page
from humor.report.document_types import Machine
from tests.support import report_documents as made
from tests.support.parsed_page import Page

EXPECTED = (
    "give JSON that humor profile, pytest bench (--compare-precisions-json, --predict-to, --verdicts or "
    "--benchmark-json) or python -m bench.studies.crossover wrote, or the folder of humor train or humor study."
)
AGAIN = "write it again with this version."


def changed(document, *path):
    document = copy.deepcopy(document)
    *inner, (key, value) = path
    place = document
    for name in inner:
        place = place[name]
    if value is ...:
        del place[key]
    else:
        place[key] = value
    return json.dumps(document)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", f"not JSON; {EXPECTED}"),
        ("[" * 100_000, f"not JSON; {EXPECTED}"),
        ("[1]", f"none of the documents that a report knows; {EXPECTED}"),
        ('{"kind": "recipe"}', f"none of the documents that a report knows; {EXPECTED}"),
        ('{"kind": ["profile"]}', f"none of the documents that a report knows; {EXPECTED}"),
        (changed(made.profile(), ("runs", ...)), f"as a document of kind profile, runs is missing; {AGAIN}"),
        (
            changed(made.profile(), "runs", 2, ("step", "fast")),
            f"as a document of kind profile, runs[2].step is 'fast', expected a number or null; {AGAIN}",
        ),
        (
            changed(made.profile(), "runs", 0, "phases", "loss", ("host", True)),
            f"as a document of kind profile, runs[0].phases[loss].host is True, expected a number or null; {AGAIN}",
        ),
        (
            changed(made.precisions(), "cases", 1, ("case", 7)),
            f"as a document of kind precisions, cases[1].case is 7, expected text; {AGAIN}",
        ),
        (changed(made.verdicts(), ("cases", {})).replace("{}", "3"),
         f"as a document of kind verdicts, cases is 3, expected a list; {AGAIN}"),
        (
            changed(made.crossover(), "precisions", "bf16", ("low", [[1.0]])),
            f"as a document of kind crossover, precisions[bf16].low is not 5 sizes by 5 rows; {AGAIN}",
        ),
        (
            changed(made.profile(), "machine", ("torch", 2)),
            f"as a document of kind profile, machine.torch is 2, expected text; {AGAIN}",
        ),
        (
            changed(made.saved_run(), "benchmarks", 1, ("stats", None)),
            f"as a saved run of pytest-benchmark, benchmarks[1].stats is None, expected an object; {AGAIN}",
        ),
        (
            changed(made.roofline(), ("peaks", {"fp32": "much"})),
            f"as a document of kind roofline, peaks[fp32] is 'much', expected a number or null; {AGAIN}",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_before_anything_is_written(tmp_path, capsys, text, sentence):
    good, bad, out = tmp_path / "good.json", tmp_path / "bad.json", tmp_path / "report.html"
    good.write_text(json.dumps(made.verdicts()))
    bad.write_text(text)
    with pytest.raises(SystemExit) as stopped:
        main(["report", str(good), str(bad), "--out", str(out)])
    assert stopped.value.code == 1
    assert capsys.readouterr().err == f"humor: {bad}: {sentence}\n"
    assert not out.exists()


def test_folders_that_hold_no_curves_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    folder = made.training_run(tmp_path / "run", epochs=0)
    damaged = made.training_run(tmp_path / "damaged")
    (damaged / "epochs.csv").write_text("epoch\n1\nx\n")
    for path, sentence in (
        (tmp_path / "gone", f"{tmp_path / 'gone'}: cannot be read (No such file or directory); {EXPECTED}"),
        (tmp_path / "empty", f"{tmp_path / 'empty'}: neither a run (epochs.csv) nor a study (study.json); {EXPECTED}"),
        (folder, f"{folder}: no epoch is finished yet; let the run go on, or leave it out."),
        (damaged, f"{damaged}: its tables are damaged (could not convert string to float: 'x\\n'); "
                  "go on with the run, or leave it out."),
    ):  # fmt: skip
        with pytest.raises(FileError) as error:
            read_document(path)
        assert str(error.value) == sentence


def test_a_file_may_hold_what_json_does_not_know(tmp_path):
    content = (
        json.dumps(made.precisions())
        .replace('"bound": 0.03', '"bound": NaN')
        .replace('"low": ', '"low": -Infinity, "x": ')
    )
    (tmp_path / "p.json").write_text(content)
    assert Page(render_page([read_document(tmp_path / "p.json")])).sections == ["precisions"]


def test_what_a_writer_does_not_know_may_be_left_out():
    document = copy.deepcopy(made.profile())
    del document["machine"]["threads"]
    document["machine"]["device"] = None
    found = as_document(document, "p.json").content
    assert found.machine == Machine(name="Xeon, H100", torch="2.11.0", when=document["machine"]["when"])
    assert as_document({**document, "machine": None}, "p.json").content.machine == Machine()
