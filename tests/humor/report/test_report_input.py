"""What a report cannot read is refused in one sentence, before anything is written."""

import json

import pytest

from humor.cli.app import main
from humor.errors import FileError
from humor.report import read_document
from tests.support import report_documents as made

EXPECTED = (
    "give JSON that humor profile, pytest bench --pays, --predict-to, --verdicts or --benchmark-json, or python -m "
    "bench.studies.crossover wrote, or the folder of humor train or humor study."
)


def changed(document, *path):
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
        (changed(made.profile(), ("runs", ...)), "a profile with no runs; write it again with this version."),
        (
            changed(made.profile(), "runs", 2, ("step", "fast")),
            "a profile with runs[2].step 'fast', not a number; write it again with this version.",
        ),
        (
            changed(made.profile(), "runs", 0, "phases", "loss", ("host", True)),
            "a profile with runs[0].phases[loss].host True, not a number; write it again with this version.",
        ),
        (
            changed(made.precisions(), "cases", 1, ("case", 7)),
            "a precisions with cases[1].case 7, not text; write it again with this version.",
        ),
        (changed(made.verdicts(), ("cases", {})).replace("{}", "3"),
         "a verdicts with cases 3, not a list; write it again with this version."),
        (
            changed(made.crossover(), "precisions", "bf16", ("low", [[1.0]])),
            "a crossover with a low of bf16 that is not 5 sizes by 5 rows; write it again with this version.",
        ),
        (
            changed(made.roofline(), ("peaks", {"fp32": "much"})),
            "a roofline with peaks {'fp32': 'much'}, not names with numbers; write it again with this version.",
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
