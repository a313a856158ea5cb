"""Opens reports of `edge-seg-export eval --html` in headless Chromium, light and dark, and looks for what is wrong with them.

usage: check_report.py REPORT.html... [--screenshots DIR]

Wrong are: console errors, requests to anywhere, pictures that do not load, text outside of the window, a page without plots.
Needs the program `chromium`. Exit codes: 0 all is well, 1 something is wrong, 2 no browser.
"""

import html.parser
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

# Runs inside the page: what the document cannot say of itself from outside.
PROBE = """
<script>
addEventListener("load", () => {
  const wide = [...document.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > innerWidth + 1).length;
  const broken = [...document.images].filter(i => !i.complete || i.naturalWidth === 0).length;
  const ground = getComputedStyle(document.body).backgroundColor;
  document.title = JSON.stringify({ wide, broken, ground, images: document.images.length, plots: document.querySelectorAll("svg").length,
    outside: performance.getEntriesByType("resource").filter(r => !r.name.startsWith("data:")).map(r => r.name) });
});
</script>
"""


class Title(html.parser.HTMLParser):
    text, inside = "", False

    def handle_starttag(self, tag, attributes):
        self.inside |= tag == "title"

    def handle_endtag(self, tag):
        self.inside &= tag != "title"

    def handle_data(self, data):
        if self.inside:
            self.text += data


def chromium(profile, *arguments):
    command = ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--enable-logging=stderr", f"--user-data-dir={profile}", "--window-size=1100,1400"]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=180)


def check(report, dark, screenshots):
    import json

    wrong = []
    text = report.read_text()
    if re.search(r"""(?:src|href)=["'](?!data:)""", text) or "@import" in text or "url(" in text:
        wrong.append("names something outside of itself")
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        page.write_text(text.replace("</body>", PROBE + "</body>"))
        scheme = ["--blink-settings=preferredColorScheme=0"] if dark else ["--blink-settings=preferredColorScheme=1"]
        ended = chromium(folder + "/profile", *scheme, "--virtual-time-budget=5000", "--dump-dom", page.as_uri())
        wrong += [line for line in ended.stderr.splitlines() if "CONSOLE" in line]
        title = Title()
        title.feed(ended.stdout)
        try:
            found = json.loads(title.text)
        except ValueError:
            return [*wrong, f"no answer from the page: {ended.stderr[-500:]}"]
        light = sum(map(int, re.findall(r"\d+", found["ground"])[:3])) > 384
        if light == dark:
            wrong.append(f"the ground is {found['ground']} in {'dark' if dark else 'light'} mode")
        for key in ("wide", "broken", "outside"):
            if found[key]:
                wrong.append(f"{key}: {found[key]}")
        if not found["plots"]:
            wrong.append("no plot")
        if screenshots:
            name = screenshots.resolve() / f"{report.stem}-{'dark' if dark else 'light'}.png"
            chromium(folder + "/profile", *scheme, "--window-size=1100,3600", f"--screenshot={name}", report.resolve().as_uri())
        print(f"{report.name}, {'dark' if dark else 'light'}: {found['plots']} plots, {found['images']} pictures, {len(wrong)} faults")
    return wrong


def main(arguments):
    screenshots = None
    if "--screenshots" in arguments:
        at = arguments.index("--screenshots")
        screenshots = Path(arguments[at + 1])
        screenshots.mkdir(parents=True, exist_ok=True)
        del arguments[at : at + 2]
    if not arguments:
        print(__doc__, file=sys.stderr)
        return 2
    if not shutil.which("chromium"):
        print("expected the program chromium, found none", file=sys.stderr)
        return 2
    wrong = [f"{name}: {fault}" for name in arguments for dark in (False, True) for fault in check(Path(name), dark, screenshots)]
    print("\n".join(wrong), file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
