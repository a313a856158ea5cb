"""Follows docs/training.md word for word, from labelling one's own photos to masks of the model that they trained, in a folder of its own.

usage: follow_training_docs.py BIN VENV

BIN holds the programs, VENV is the trainer's environment. Steps are few and crops small; all else is as it stands in the page's blocks of code.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PROJECT = Path(__file__).parents[2]
PAGE = PROJECT / "docs" / "training.md"
# What a reader has done before, or what takes too long here.
NOT_RUN = ("cargo build", "trainer-setup")
FEWER = " --set stage.mine.steps=3 --set stage.mine.batch=2 --set stage.mine.side_px=160 --set log_every=1"


def blocks(text: str, title: str, language: str) -> list[str]:
    # A comment in a block is no heading.
    text = re.sub(r"(?ms)^```.*?^```$", lambda block: block[0].replace("\n#", "\n\0#"), text)
    section = re.search(rf"^#+ {re.escape(title)}$(.*?)(?=^#|\Z)", text, re.M | re.S)
    assert section, f"{PAGE}: no section {title!r}"
    return [found.replace("\0", "") for found in re.findall(rf"^```{language}\n(.*?)^```$", section[1], re.M | re.S)]


def main(programs: Path, venv: Path) -> None:
    text = PAGE.read_text(encoding="utf-8")
    (begin, *_), (label, rest) = blocks(text, "Begin", "sh"), blocks(text, "Round trip: label, correct, train", "sh")
    (recipe,) = blocks(text, "Round trip: label, correct, train", "toml")
    with tempfile.TemporaryDirectory() as place:
        here = Path(place)
        (here / "target").mkdir()
        (here / "target" / "release").symlink_to(programs.resolve())
        for name in ("runtime", "export"):
            (here / name).symlink_to(PROJECT / name)
        (here / "photos").mkdir()
        for photo in sorted((PROJECT / "examples" / "pictures").glob("*.jpg")):
            shutil.copy(photo, here / "photos")
        (here / "words.txt").write_text("cat\nperson\ncup\nwall\ntable\nsky\n")
        (here / "mine.toml").write_text(recipe)
        environment = os.environ | {"EDGE_SEG_TRAINER_VENV": str(venv.resolve()), "PYTHONPATH": str(PROJECT / "export" / "trainer")}
        environment.pop("EDGE_SEG_DATA", None)
        lines = [line for line in begin.splitlines() if line.startswith("mkdir")] + label.splitlines() + rest.splitlines()
        # What trains without a round trip comes after it: the smoke run, then what is trained already.
        lines += [line for line in begin.splitlines() if "target/release" in line]
        script = ["set -eu"]
        for line in filter(None, map(str.strip, lines)):
            if any(part in line for part in NOT_RUN):
                continue
            command, hash_, comment = line.partition("  #")
            command = command.replace("~/.cache/edge-seg/trainer/bin/python", str(venv.resolve() / "bin" / "python"))
            command += FEWER if " train " in command else ""
            script += [f"echo '+ {command}' >&2", command]
        subprocess.run(["bash", "-c", "\n".join(script)], cwd=here, env=environment, check=True)
        assert (here / "out" / "models" / "mine" / "training.json").is_file()
        assert len(list((here / "edge-seg-out").glob("*.mask.png"))) == len(list((here / "photos").iterdir()))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
