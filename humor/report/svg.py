"""matplotlib's charts as inline SVG that takes colours, font, width and dark mode from the page."""

import re
import warnings
from collections.abc import Callable
from io import BytesIO
from typing import Any
from xml.etree import ElementTree

import matplotlib
from markupsafe import Markup
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

# matplotlib draws in placeholder colours, which become CSS variables; page.html defines each for light and dark.
VARIABLES = ("ink", "soft", "grid", "paper", *(f"s{n}" for n in range(1, 8)), *(f"heat{n}" for n in range(7)))
PLACEHOLDERS = {name: f"#fe{number:02x}01" for number, name in enumerate(VARIABLES)}
INK, SOFT, GRID, PAPER = (PLACEHOLDERS[name] for name in VARIABLES[:4])
SERIES = tuple(PLACEHOLDERS[f"s{n}"] for n in range(1, 8))
HEAT = tuple(PLACEHOLDERS[f"heat{n}"] for n in range(7))  # from much slower, over even, to much faster
# Text stays text, in sizes of the page; names from outside must not be parsed as formulas.
STYLE: Any = {
    "svg.fonttype": "none", "text.parse_math": False, "font.size": 12, "axes.titlesize": 12, "legend.fontsize": 12,
    "text.color": INK, "axes.labelcolor": SOFT, "axes.edgecolor": GRID, "xtick.color": SOFT, "ytick.color": SOFT,
    "axes.spines.top": False, "axes.spines.right": False, "axes.facecolor": "none", "figure.facecolor": "none",
    "axes.grid": True, "axes.axisbelow": True, "grid.color": GRID, "grid.linewidth": 0.8, "legend.frameon": False,
    "legend.handlelength": 1.4, "legend.columnspacing": 1.4, "legend.borderaxespad": 0, "axes.unicode_minus": True,
    "xtick.major.size": 0, "ytick.major.size": 0, "xtick.minor.size": 0, "ytick.minor.size": 0, "path.simplify": False,
}  # fmt: skip
WIDTHS = {"wide": 720, "narrow": 326}  # CSS pixels: of a desktop's column, and of a telephone's
SVG = "http://www.w3.org/2000/svg"
XLINK = "{http://www.w3.org/1999/xlink}href"
GROUPS = [f"{{{SVG}}}{tag}" for tag in ("g", "defs")]
DROPPED = [f"{{{SVG}}}{tag}" for tag in ("metadata", "style", "clipPath")]
MARK = "mark|"
Draw = Callable[[Axes, bool], None]  # axes, and whether they are wide


def mark(artist: Artist, tooltip: str) -> None:
    """Make an artist a mark of the data: one group of the SVG, with a tooltip."""
    artist.set_gid(MARK + tooltip)


def chart(name: str, title: str, description: str, draw: Draw, heights: tuple[float, float]) -> Markup:
    """Draw a chart at both widths, of which the page shows the one that fits.

    `draw` gets the axes and whether they are wide; heights are in CSS pixels, wide then narrow.
    """
    drawn = []
    for (kind, width), height in zip(WIDTHS.items(), heights, strict=True):
        with matplotlib.rc_context({**STYLE, "svg.hashsalt": name}), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph")  # the browser's fonts draw the text
            figure = Figure(figsize=(width / 72, height / 72), layout="constrained")
            FigureCanvasSVG(figure)
            draw(figure.subplots(), kind == "wide")
            file = BytesIO()
            figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
        drawn.append(_inline(file.getvalue().decode(), f"{name}-{kind}", kind, title, description))
    return Markup("\n").join(drawn)


def _inline(text: str, name: str, kind: str, title: str, description: str) -> Markup:
    """Turn matplotlib's file into a part of the page: themed, described, small, with identifiers unique on the page."""
    ElementTree.register_namespace("", SVG)
    root = ElementTree.fromstring(text)
    for element in list(root.iter()):
        _theme(element, name)
    _slim(root)
    for extent in ("width", "height"):
        root.set(extent, root.get(extent, "").removesuffix("pt"))
    root.attrib |= {"class": f"chart {kind}", "role": "img", "aria-labelledby": f"{name}-title {name}-desc"}
    for tag, what in (("desc", description), ("title", title)):
        root.insert(0, _element(tag, what, id=f"{name}-{tag}"))
    inline = ElementTree.tostring(root, encoding="unicode")
    for variable, placeholder in PLACEHOLDERS.items():
        inline = inline.replace(placeholder, f"var(--{variable})")
    return Markup(inline)  # every text in it was escaped by ElementTree


def _theme(element: ElementTree.Element, name: str) -> None:
    identifier = element.attrib.pop("id", "")
    if identifier.startswith(MARK):
        element.set("class", "mark")
        element.insert(0, _element("title", identifier.removeprefix(MARK)))
    elif element.tag == f"{{{SVG}}}path" and identifier:  # a marker, which others refer to
        element.set("id", f"{name}-{identifier}")
    if XLINK in element.attrib:
        element.set("href", f"#{name}-{element.attrib.pop(XLINK)[1:]}")
    element.attrib.pop("clip-path", None)
    if element.get("transform", "").startswith("rotate(-0 "):
        del element.attrib["transform"]
    for place in {"d", "x", "y", "transform"} & set(element.attrib):  # to a tenth of a pixel
        exact = element.get(place, "").strip()
        short = re.sub(r"\d+\.\d+", lambda number: f"{float(number[0]):.1f}".removesuffix(".0"), exact)
        element.set(place, re.sub(r" *([A-Zz]) *", r"\1", short))
    if "style" in element.attrib:  # the font is the page's
        style = re.sub(r"font: (?:\w+ )*?([\d.]+)px [^;]*", r"font-size: \1px", element.get("style", ""))
        style = re.sub(r"(font-family|stroke-linecap|stroke-linejoin): [^;]*(; |$)", "", style)
        element.set("style", re.sub(r"([:;]) ", r"\1", style))


def _slim(parent: ElementTree.Element) -> None:
    """Drop what a page does not need: metadata, global styles, groups without attributes."""
    kept: list[ElementTree.Element] = []
    for child in parent:
        _slim(child)
        if child.tag in DROPPED or (child.tag in GROUPS and not len(child)):
            continue
        kept += child if child.tag == GROUPS[0] and not child.attrib else [child]
    parent[:] = kept
    for element in [parent, *kept]:
        element.text, element.tail = (text if text and text.strip() else None for text in (element.text, element.tail))


def _element(tag: str, text: str, **attributes: str) -> ElementTree.Element:
    element = ElementTree.Element(f"{{{SVG}}}{tag}", attributes)
    element.text = text
    return element
