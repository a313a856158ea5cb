#!/usr/bin/env bash
# Opens reports of `edge-seg-export eval --html` in headless Chromium, and labels with other people's readers.
# usage: tests/reports.sh FOLDER_OF_BINARIES PYTHON   (PYTHON has pycocotools, supervision and datumaro; chromium is installed)
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$1 python=$2
made=${KEEP:-$(mktemp -d)}
trap 'rm -rf "$made"' EXIT

# The model's own masks at one size are the truth that it is measured against at another: no data is needed, and there are faults to show.
mkdir "$made/images" "$made/labels"
for picture in astronaut cat coffee rocket; do
    cp "examples/pictures/$picture.jpg" "$made/images/"
    "$bin/edge-seg" segment "examples/pictures/$picture.jpg" --tags "person, cat, cup, sky, wall" --background 0.3 --size 224 --out "$made/out" >/dev/null
    cp "$made/out/$picture.mask.png" "$made/labels/$picture.png"
done
printf 'id\tname\tview\n0\tbackground\t0\n100\trest\t0\n1\tperson\t1\n2\tcat\t2\n3\tcup\t3\n4\tsky\t4\n5\twall\t5\n' >"$made/classes.tsv"
"$bin/edge-seg-export" eval segmentation --images "$made/images" --labels "$made/labels" --classes "$made/classes.tsv" --view view \
    --background 0.1..0.7/0.1 --refine none,guided,pamr --html "$made/report.html" >"$made/table.txt"
grep -q "each from the other half" "$made/table.txt"
python3 tests/python/check_report.py "$made/report.html"

printf 'file\tcaption\nastronaut.jpg\ta person before a flag\ncat.jpg\ta cat at a wall\ncoffee.jpg\ta cup of coffee and a spoon\nrocket.jpg\ta rocket under the sky\n' >"$made/captions.tsv"
for task in tags caption; do
    "$bin/edge-seg-export" eval "$task" --images "$made/images" --labels "$made/labels" --classes "$made/classes.tsv" --view view \
        --captions "$made/captions.tsv" --html "$made/$task.html" >/dev/null
    python3 tests/python/check_report.py "$made/$task.html"
done

printf 'person\ncat\ncup\nsky\nwall\n' >"$made/words.txt"
"$bin/edge-seg-export" label "$made/images" -o "$made/labelled" --vocabulary "$made/words.txt" --background 0.3
"$python" tests/python/check_labels.py "$made/labelled"
"$python" tests/python/check_label_readers.py "$made/labelled" "$made/images"

# The other way: what other writers make of these masks measures as the masks themselves.
"$python" tests/python/write_labels.py "$made/labelled/voc" "$made/written"
measured() {
    "$bin/edge-seg-export" eval segmentation --images "$made/images" --view id --json --confusion "$@" |
        python3 -c 'import json, sys; row = json.loads(sys.stdin.readline()); print(row["labelled_px"], row["pixel_accuracy"], row["confusion"])'
}
classes=$made/labelled/voc/labelmap.txt
truth=$(measured --labels "$made/labelled/voc/SegmentationClass" --classes "$classes")
for labels in "$made/labelled/coco.json" "$made/written/datumaro/coco/annotations/"instances_*.json "$made/written/datumaro/voc/SegmentationClass"; do
    own=$classes
    [ -f "$made/written/datumaro/voc/labelmap.txt" ] && [[ $labels == *datumaro/voc* ]] && own=$made/written/datumaro/voc/labelmap.txt
    [ "$truth" = "$(measured --labels "$labels" --classes "$own")" ] || { echo "$labels: measures otherwise than the masks" >&2; exit 1; }
done
measured --labels "$made/written/supervision.json" --classes "$classes" | python3 -c '
import sys
truth, found = sys.argv[1].split()[:2], sys.stdin.read().split()[:2]
sys.exit(truth[0] != found[0] or abs(float(truth[1]) - float(found[1])) > 0.01)' "$truth" || { echo "supervision.json: off by more than 0.01" >&2; exit 1; }
