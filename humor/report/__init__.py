"""Everything that was measured, judged and predicted on one page: a file of HTML that needs no network."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ..errors import FileError
from ..io.files import write_whole
from .blocks import Block, Section
from .documents import EXPECTED, Document, as_document, read_document
from .measurements import crossover, linear, memory, phases, roofline_block
from .one_run import single
from .predictions import predicted, published
from .saved_runs import history
from .verdicts import gate, pays, right, training

__all__ = ["Document", "as_document", "read_document", "write_page"]

Build = Callable[[Document, str], Block | None]
# The order of the page: the name of a section, its question, the documents it takes, and what makes its block.
SECTIONS: Sequence[tuple[str, str, str, Build]] = (
    ("gate", "Did it get slower?", "verdicts", gate),
    ("pays", "Which precision pays?", "precisions", pays),
    ("right", "Is it still right?", "precisions", right),
    ("phases", "Where does the step go?", "profile", phases),
    ("linear", "Where does a linear layer's time go?", "profile", linear),
    ("crossover", "From which size does half precision pay?", "crossover", crossover),
    ("roofline", "How near is it to the machine's limits?", "roofline", roofline_block),
    ("memory", "How much memory does it take?", "profile", memory),
    ("training", "Does it train alike?", "training", training),
    ("published", "Predicted: the study's own numbers", "prediction", published),
    ("predicted", "Predicted: our cases", "prediction", predicted),
)
AFTER = "memory"  # the section that saved runs follow: all of them make one block


def sections_of(documents: Sequence[Document]) -> list[Section]:
    """The sections that the documents have something for."""
    found = []
    for name, title, kind, build in SECTIONS:
        given = [document for document in documents if document.kind == kind]
        blocks = [build(document, f"{name}{number}") for number, document in enumerate(given)]
        found.append(Section(name, title, [block for block in blocks if block]))
        if name == AFTER:
            saved = [document for document in documents if document.kind == "saved run"]
            one, many = single(saved, "run"), history(saved, "history")
            found.append(Section("run", "How long does it take?", [one] if one else []))
            found.append(Section("history", "How did it change?", [many] if many else []))
    return [section for section in found if section.blocks]


def page(documents: Sequence[Document]) -> str:
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
    write_whole(out, page(list(documents)).encode())
