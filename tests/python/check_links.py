"""Checks README.md and the book in docs/: every relative link and anchor leads somewhere, and README keeps its size.

    python3 tests/python/check_links.py [ROOT]

Links of the book stay inside it, since nothing outside docs/ is copied with it: name other files as `path`. Every page is in SUMMARY.md.
Exit 1 with one line for each fault.
"""
import re
import sys
import unicodedata
from pathlib import Path
from urllib.parse import unquote

README_LINES, README_BYTES = 200, 12_000
LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\[\]]*\])*\]\(\s*<?([^()\s<>]+(?:\([^()\s]*\)[^()\s]*)?)>?(?:\s+\"[^\"]*\")?\s*\)")


def prose(text):
    """The numbered lines without fenced code, and without spans of code."""
    fence = None
    for number, line in enumerate(text.splitlines(), 1):
        mark = re.match(r"\s*(```+|~~~+)", line)
        if mark and (fence is None or line.strip().startswith(fence)):
            fence = None if fence else mark.group(1)
        elif fence is None:
            yield number, re.sub(r"(`+)(?:(?!\1).)+\1(?!`)", "", line)


def headings(text):
    """The anchors that forges and mdBook give to headings."""
    found, fence = {}, False
    for line in text.splitlines():
        fence ^= line.lstrip().startswith("```")
        title = re.match(r"#{1,6}\s+(.*?)\s*#*$", line)
        if fence or not title:
            continue
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title.group(1))
        letters = (c for c in words.lower() if c in " -_" or unicodedata.category(c)[0] in "LN")
        anchor = "".join("-" if c == " " else c for c in letters)
        seen = found.get(anchor, -1) + 1
        found[anchor] = seen
        yield f"{anchor}-{seen}" if seen else anchor


def faults(root):
    book = root / "docs"
    pages = [root / "README.md", *sorted(book.glob("*.md"))]
    linked = set()
    for page in pages:
        for number, line in prose(page.read_text(encoding="utf-8")):
            for target in LINK.findall(line):
                if re.match(r"[a-z][a-z0-9+.-]*:", target):
                    continue
                place = f"{page.relative_to(root)}:{number}: {target}"
                path, _, anchor = unquote(target).partition("#")
                file = (page.parent / path).resolve() if path else page
                if not file.exists():
                    yield f"{place}: no such file"
                elif page.parent == book and book not in file.parents:
                    yield f"{place}: leads out of the book; write the path as code"
                elif anchor and (file.suffix != ".md" or anchor not in headings(file.read_text(encoding="utf-8"))):
                    yield f"{place}: no such heading"
                if page.name == "SUMMARY.md":
                    linked.add(file)
    for page in pages[1:]:
        if page.name != "SUMMARY.md" and page.resolve() not in linked:
            yield f"{page.relative_to(root)}: not in docs/SUMMARY.md"
    readme = pages[0].read_bytes()
    lines = readme.count(b"\n")
    if lines > README_LINES or len(readme) > README_BYTES:
        yield f"README.md: {lines} lines and {len(readme)} bytes; expected at most {README_LINES} and {README_BYTES}"


def main():
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[2]).resolve()
    found = list(faults(root))
    for fault in found:
        print(fault)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
