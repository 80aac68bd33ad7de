"""The page: one section for each question that the documents have an answer to."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ..errors import FileError
from ..io.files import write_whole
from .document_types import Crossover, Precisions, Prediction, Profile, Roofline, SavedRun, Training, Verdicts
from .documents import EXPECTED, Document
from .layout import Answer, Section, source_of
from .measurements import crossover, linear_layers, memory, phases, roofline
from .one_run import one_run
from .predictions import cases_predicted, study_predicted
from .saved_runs import history
from .verdicts import accuracy, gate, speedups, training

# The order of the page: the name of a section, its question, the documents it takes, and what answers it.
SECTIONS: Sequence[tuple[str, str, type, Callable[[Any, str], Answer | None]]] = (
    ("gate", "Did it get slower?", Verdicts, gate),
    ("precisions", "Which precision pays?", Precisions, speedups),
    ("accuracy", "Is it still right?", Precisions, accuracy),
    ("phases", "Where does the step go?", Profile, phases),
    ("linear", "Where does a linear layer's time go?", Profile, linear_layers),
    ("crossover", "From which size does half precision pay?", Crossover, crossover),
    ("roofline", "How near is it to the machine's limits?", Roofline, roofline),
    ("memory", "How much memory does it take?", Profile, memory),
    ("training", "Does it train alike?", Training, training),
    ("published", "Predicted: the study's own numbers", Prediction, study_predicted),
    ("predicted", "Predicted: our cases", Prediction, cases_predicted),
)
AFTER = "memory"  # the section that saved runs follow: all of them have one answer


def sections_of(documents: Sequence[Document]) -> list[Section]:
    """The sections that the documents have an answer to."""
    sections = []
    for name, title, kind, build in SECTIONS:
        given = [document for document in documents if isinstance(document.content, kind)]
        answers = [(build(document.content, f"{name}{at}"), source_of(document)) for at, document in enumerate(given)]
        sections.append(Section(name, title, [(answer, source) for answer, source in answers if answer]))
        if name == AFTER:
            sections.append(_saved_runs(documents))
    return [section for section in sections if section.answers]


def _saved_runs(documents: Sequence[Document]) -> Section:
    """One saved run as it is, several as their history; the source is the newest."""
    saved = [
        (document.content, source_of(document)) for document in documents if isinstance(document.content, SavedRun)
    ]
    saved.sort(key=lambda pair: pair[0].datetime)
    runs = [run for run, _ in saved]
    if len(runs) == 1:
        name, title, answer = "run", "How long does it take?", one_run(runs[0], "run")
    else:
        name, title, answer = "history", "How did it change?", history(runs, "history")
    return Section(name, title, [(answer, saved[-1][1])] if answer else [])


def render_page(documents: Sequence[Document]) -> str:
    """The page as text. Raises FileError where there is nothing to show."""
    sections = sections_of(documents)
    if not sections:
        raise FileError(f"nothing to report in {', '.join(d.name for d in documents) or 'no file'}; {EXPECTED}.")
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("page.html").render(sections=sections)


def write_page(documents: Iterable[Document], out: Path) -> None:
    """Write the page whole or not at all. Raises FileError."""
    write_whole(out, render_page(list(documents)).encode())
