"""A page of the report, rendered and parsed."""

from html.parser import HTMLParser

from humor.report import as_document, render_page


class Page(HTMLParser):
    """What a page holds: tags with attributes, the text of each table's rows, sections, sentences."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.rows, self.leads, self.notes, self.words = [], [], [], [], []
        self._open = None
        self.feed(text)
        self.sections = [attributes["id"] for tag, attributes in self.tags if tag == "section"]

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append((tag, attributes))
        lists = {"tr": self.rows, "p": {"lead": self.leads, "note": self.notes}.get(attributes.get("class"))}
        if lists.get(tag) is not None:
            self._open = lists[tag]
            self._open.append([] if tag == "tr" else "")
        elif tag in ("th", "td") and self._open is self.rows:
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        if tag in ("tr", "p"):
            self._open = None

    def handle_data(self, data):
        if self._open is self.rows and self.rows[-1]:
            self.rows[-1][-1] += data
        elif self._open is not None and self._open is not self.rows:
            self._open[-1] += data


def render(*contents):
    """The page of documents as they come from JSON."""
    return Page(render_page([as_document(content, f"{number}.json") for number, content in enumerate(contents)]))
