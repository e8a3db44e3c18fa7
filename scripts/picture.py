"""Draw a terminal session: ``picture.py OUTPUT.svg COMMAND...`` runs the commands and draws them.

Each COMMAND is a line for the shell, run on a terminal of 100 columns. Its standard output is drawn
with the colours that weighbridge uses, and no others.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import suppress
from html import escape
from pathlib import Path

COLUMNS, MARGIN, BAR = 100, 18, 38
WIDTH, HEIGHT = 8.4, 20  # of a character, in pixels
STYLES = {
    "1": "font-weight:bold",
    "2": "fill:#8b949e",
    "31": "fill:#ff7b72",
    "32": "fill:#56d364",
    "33": "fill:#e3b341",
    "34": "fill:#79c0ff",
}
SEQUENCE = re.compile(r"\x1b\[([\d;]*)m")
FONT = 'ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace'
HEAD = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}">
<title>{title}</title>
<style>text {{ font: 14px {font}; fill: #e6edf3; white-space: pre }}</style>
<rect x="0.5" y="0.5" width="{inner_width:g}" height="{inner_height:g}" rx="10" fill="#0d1117"
 stroke="#30363d"/>
<circle cx="22" cy="20" r="6" fill="#ff5f57"/><circle cx="42" cy="20" r="6" fill="#febc2e"/>
<circle cx="62" cy="20" r="6" fill="#28c840"/>"""


def printed(command: str) -> str:
    """What the command prints on a terminal, colours included; not what it says on stderr."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
    process = subprocess.Popen(command, shell=True, stdout=theirs, stderr=subprocess.DEVNULL)
    os.close(theirs)
    said = b""
    with suppress(OSError):  # EIO is what Linux says when the other end is closed
        while chunk := os.read(ours, 65536):
            said += chunk
    process.wait()
    return said.decode().replace("\r\n", "\n").rstrip("\n")


def spans(line: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The line's text in pieces, each with the codes that are in force."""
    codes: tuple[str, ...] = ()
    for index, piece in enumerate(SEQUENCE.split(line)):
        if index % 2:
            new = tuple(piece.split(";"))
            codes = () if new in (("0",), ("",)) else codes + new
        elif piece:
            yield piece, codes


def folded(line: str) -> list[str]:
    """What a terminal makes of a line of plain text that is too long for it."""
    if SEQUENCE.search(line):
        return [line]
    return [line[i : i + COLUMNS] for i in range(0, len(line), COLUMNS)] or [""]


def drawn(line: str, row: int) -> str:
    """One line as SVG; each piece gets its place, whatever the width of the viewer's font."""
    column, parts = 0, []
    for text, codes in spans(line):
        style = ";".join(STYLES[code] for code in codes)
        place = f'x="{MARGIN + column * WIDTH:g}" textLength="{len(text) * WIDTH:g}"'
        parts.append(f'<tspan {place} style="{style}">{escape(text)}</tspan>')
        column += len(text)
    return f'<text y="{BAR + row * HEIGHT + 16}">{"".join(parts)}</text>'


def picture(commands: list[str]) -> str:
    """The whole session as SVG."""
    lines: list[str] = []
    for command in commands:
        lines += [*([""] if lines else []), f"\x1b[2m$\x1b[0m \x1b[1m{command}\x1b[0m"]
        lines += [part for line in printed(command).split("\n") for part in folded(line)]
    width, height = 2 * MARGIN + COLUMNS * WIDTH, BAR + len(lines) * HEIGHT + MARGIN
    sizes = {"width": width, "height": height, "inner_width": width - 1, "inner_height": height - 1}
    rows = [drawn(line, row) for row, line in enumerate(lines) if line]
    head = HEAD.format(**sizes, font=FONT, title=escape(commands[-1]))
    return "\n".join([head, *rows, "</svg>", ""])


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(picture(sys.argv[2:]), encoding="utf-8")
