"""The report as HTML pages: one file each, nothing from elsewhere, no script; light, and fit to be printed on A4. Pure.

All text is escaped here, once; only `Html` is taken as it is.
"""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

Cell = str

_SHORT_ROWS: Final = 24
"""Tables of so few rows are printed on one page."""


class Html(str):
    """Markup that is already safe: pictures of `plots`, and what this module has made."""

    __slots__ = ()


def page(title: str, parts: Iterable[Html]) -> bytes:
    """A whole page."""
    body = "".join(parts)
    return f"{_HEAD.replace('{title}', escape(title))}{body}{_FOOT}".encode(errors="replace")


def header(title: str, facts: Sequence[Cell], links: Sequence[tuple[str, str]] = ()) -> Html:
    """The top of a page: its name, lines of facts, links to sections or pages."""
    lines = "".join(f"<p>{text(fact)}</p>" for fact in facts)
    made = [f'<a href="{escape(target)}">{escape(name)}</a>' for name, target in links]
    nav = f'<nav aria-label="contents">{" ".join(made)}</nav>' if made else ""
    return Html(f"<header><h1>{escape(title)}</h1>{lines}{nav}</header><main>")


def section(title: str, parts: Iterable[Html], *, anchor: str, new_page: bool = False) -> Html:
    """A section with a heading; printed, it may begin on a new page."""
    kind = ' class="new"' if new_page else ""
    return Html(f'<section id="{escape(anchor)}"{kind}><h2>{escape(title)}</h2>{"".join(parts)}</section>')


def heading(title: str) -> Html:
    """A heading inside a section."""
    return Html(f"<h3>{escape(title)}</h3>")


def paragraph(content: Cell, *, kind: str = "") -> Html:
    """Running text; kind `note` is small, `trouble` stands out."""
    return Html(f"<p{_class(kind)}>{text(content)}</p>")


def figure(picture: str, caption: Cell = "") -> Html:
    """A picture of `plots` with a line below."""
    below = f"<figcaption>{text(caption)}</figcaption>" if caption else ""
    return Html(f"<figure>{picture}{below}</figure>")


def pair(figures: Sequence[Html]) -> Html:
    """Pictures of half the width side by side."""
    return Html(f'<div class="pair">{"".join(figures)}</div>')


def table(
    caption: Cell, head: Sequence[Cell], rows: Iterable[Sequence[Cell]], *, numbers: Sequence[int] | None = None
) -> Html:
    """A table whose first column names the rows; columns of figures, all others if none are named, are set to the right."""
    right = set(range(1, len(head)) if numbers is None else numbers)
    titles = "".join(f'<th scope="col"{_class("n" if i in right else "")}>{text(one)}</th>' for i, one in enumerate(head))
    body = []
    for row in rows:
        cells = [f'<th scope="row">{text(row[0])}</th>']
        cells += [f"<td{_class('n' if i in right else '')}>{text(one)}</td>" for i, one in enumerate(row[1:], start=1)]
        body.append(f"<tr>{''.join(cells)}</tr>")
    below = f"<caption>{text(caption)}</caption>"
    kind = ' class="short"' if len(body) <= _SHORT_ROWS else ""
    whole = f"<table{kind}>{below}<thead><tr>{titles}</tr></thead><tbody>{''.join(body)}</tbody></table>"
    return Html(f'<div class="wide">{whole}</div>')


def facts(rows: Iterable[tuple[Cell, Cell]]) -> Html:
    """Names and values, one below the other."""
    made = "".join(f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in rows)
    return Html(f"<dl>{made}</dl>")


def tiles(rows: Iterable[tuple[Cell, Cell]]) -> Html:
    """Few large figures: the value, and what it is."""
    made = "".join(f"<li><b>{text(value)}</b> {text(name)}</li>" for name, value in rows)
    return Html(f'<ul class="tiles">{made}</ul>')


def link(name: str, target: str) -> Html:
    """A link to another page of the report."""
    return Html(f'<a href="{escape(target)}">{escape(name)}</a>')


def flag(content: str, kind: str) -> Html:
    """A word that stands out: kind `good`, `warn` or `bad`."""
    return Html(f'<span class="flag {escape(kind)}">{escape(content)}</span>')


def text(content: Cell) -> str:
    """Text with nothing in it that HTML would take for markup; `Html` stays what it is."""
    return str(content) if isinstance(content, Html) else escape(content)


def _class(name: str) -> str:
    return f' class="{escape(name)}"' if name else ""


_HEAD: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>{title}</title>
<style>
:root { color-scheme: light; --line: #d9dde2; --soft: #f4f6f8; --ink: #1c2126; --dim: #56606b }
:root { --good: #1a6e45; --bad: #b3261e; --warn: #8a5300 }
* { box-sizing: border-box }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: #fff }
body { margin: 0 auto; max-width: 66rem; padding: 1.4rem 1.5rem 3rem }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .3rem }
h2 { font-size: 1.3rem; margin: 2.4rem 0 .6rem; padding-top: .6rem; border-top: 2px solid var(--ink) }
h3 { font-size: 1.02rem; margin: 1.5rem 0 .3rem }
header p { margin: 0; color: var(--dim) } nav { margin: .7rem 0 0; display: flex; flex-wrap: wrap; gap: .2rem 1.1rem }
a { color: #005a94 } p { margin: .4rem 0; max-width: 52rem }
p.note, figcaption, caption { color: var(--dim); font-size: .87rem }
p.trouble { border-left: .3rem solid var(--bad); background: #fdf1f0; padding: .6rem .9rem }
p.label { border-left: .3rem solid var(--warn); background: #fdf6ea; padding: .5rem .9rem }
figure { margin: .6rem 0 1rem } svg { width: 100%; height: auto; display: block }
svg * { stroke-linejoin: round; stroke-linecap: butt } svg text { white-space: pre }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 1.2rem }
.wide { overflow-x: auto; margin: .8rem 0 1.1rem }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .92rem }
caption { text-align: left; padding: 0 0 .25rem }
th, td { text-align: left; vertical-align: top; padding: .3rem .9rem .3rem 0; border-bottom: 1px solid var(--line) }
thead th { border-bottom: 1.5px solid var(--ink); font-size: .85rem; vertical-align: bottom }
tbody th { font-weight: 600; overflow-wrap: break-word }
.n { text-align: right; padding: .3rem 0 .3rem .9rem; white-space: nowrap } thead .n { white-space: normal }
.n + :not(.n) { padding-left: 1.3rem } tbody th a { white-space: nowrap }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(24rem, 1fr)); gap: 0 1.6rem; margin: .6rem 0 }
dl div { display: grid; grid-template-columns: 10.5rem 1fr; gap: .7rem; padding: .25rem 0; font-size: .92rem }
dl div { border-bottom: 1px solid var(--line) }
dt { color: var(--dim) } dd { margin: 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(7.6rem, 1fr)); gap: .6rem }
.tiles { padding: 0; margin: 1rem 0 }
.tiles li { list-style: none; background: var(--soft); border-left: .25rem solid #0072b2; padding: .5rem .6rem }
.tiles li { color: var(--dim); font-size: .9rem }
.tiles b { display: block; white-space: nowrap; font-size: 1.2rem; line-height: 1.25; color: var(--ink) }
.flag { border: 1px solid; border-radius: 1rem; padding: 0 .55rem; font-size: .85rem; white-space: nowrap }
.good { color: var(--good) } .bad { color: var(--bad) } .warn { color: var(--warn) }
@media (max-width: 46rem) { .pair { grid-template-columns: 1fr } dl { grid-template-columns: 1fr } }
@page { size: A4; margin: 13mm 12mm }
@media print {
  body { font-size: 9.5pt; max-width: none; padding: 0 } nav { display: none } a { color: inherit; text-decoration: none }
  h2, h3, caption { break-after: avoid } figure, .pair, tr, dl div, .tiles, .short { break-inside: avoid }
  thead { display: table-header-group } .wide { overflow: visible }
  section.new { break-before: page } section.new h2 { border-top: 0; margin-top: 0 }
  .tiles { grid-template-columns: repeat(auto-fit, minmax(24mm, 1fr)) } .tiles b { font-size: 1.1rem }
  dl { grid-template-columns: 1fr 1fr }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact }
}
</style></head><body>
"""
_FOOT: Final = "</main></body></html>\n"
