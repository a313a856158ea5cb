#!/usr/bin/env bash
# Opens reports of `edge-seg-export eval --html` in headless Chromium, and pictures and labels with other people's readers.
# usage: tests/reports.sh FOLDER_OF_BINARIES PYTHON   (PYTHON has pycocotools, supervision and datumaro; chromium is installed)
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$1 python=$2
made=${KEEP:-$(mktemp -d)}
trap 'rm -rf "$made"' EXIT

"$python" tests/python/check_pictures.py "$bin/edge-seg" examples/pictures/cat.jpg

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
# Whatever is found, down to single pixels.
mkdir "$made/few"
cp "$made/images/"{cat,coffee}.jpg "$made/few"
printf 'person\ncat\ncup\nsky\nwall\nfur\ntable\nspoon\n' >"$made/more.txt"
"$bin/edge-seg-export" label "$made/few" -o "$made/fine" --vocabulary "$made/more.txt" --tag-threshold 0 --background 0 --least-share 0
"$python" tests/python/check_labels.py "$made/fine" | tee "$made/fine.txt"
grep -q ' [1-9][0-9]* holes, [1-9][0-9]* single pixels,' "$made/fine.txt"
"$python" tests/python/check_label_readers.py "$made/fine" "$made/few"

# The other way: what other writers make of these masks, and of such as formats lose, measures as the masks themselves.
measured() {
    "$bin/edge-seg-export" eval segmentation --images "$1" --view id --json --confusion "${@:2}" |
        python3 -c 'import json, sys; row = json.loads(sys.stdin.readline()); print(row["labelled_px"], row["pixel_accuracy"], row["confusion"])'
}
near() {
    python3 -c '
import sys
truth, found, by = sys.argv[1].split()[:2], sys.argv[2].split()[:2], float(sys.argv[3])
sys.exit(truth[0] != found[0] or abs(float(truth[1]) - float(found[1])) > by)' "$@"
}
"$python" tests/python/make_hard_masks.py "$made/images" "$made/hard"
for set in hard labelled; do
    images=$made/images
    [ $set = labelled ] || images=$made/hard/images
    "$python" tests/python/write_labels.py "$made/$set/voc" "$made/written/$set"
    classes=$made/$set/voc/labelmap.txt
    truth=$(measured "$images" --labels "$made/$set/voc/SegmentationClass" --classes "$classes")
    exact=$made/written/$set/exact
    for labels in "$exact"/*.json "$exact/datumaro-coco/annotations/"*.json "$exact/datumaro-cvat/"*.xml "$exact/datumaro-voc/SegmentationClass"; do
        own=$classes
        [[ $labels != *datumaro-voc* ]] || own=$exact/datumaro-voc/labelmap.txt
        [ "$truth" = "$(measured "$images" --labels "$labels" --classes "$own")" ] || { echo "$labels: measures otherwise than the masks" >&2; exit 1; }
    done
done
for labels in "$made/written/labelled/near/"{supervision.json,supervision-yolo/labels,ultralytics/labels}; do
    found=$(measured "$made/images" --labels "$labels" --classes "$made/labelled/voc/labelmap.txt")
    near "$truth" "$found" 0.02 || { echo "$labels: $found is not near $truth" >&2; exit 1; }
done
# Of what is a pixel wide supervision leaves a box alone.
for labels in "$made/written/hard/near/"{supervision.json,supervision-yolo/labels}; do
    said=$("$bin/edge-seg-export" eval segmentation --images "$made/hard/images" --view id --labels "$labels" --classes "$made/hard/voc/labelmap.txt" 2>&1 >/dev/null) &&
        { echo "$labels: measured, though masks are missing" >&2; exit 1; }
    grep -q "found a box alone" <<< "$said" || { echo "$labels: $said" >&2; exit 1; }
done
[ "$(measured "$made/images" --labels "$made/labelled/coco.json" --classes "$made/labelled/voc/labelmap.txt")" = \
    "$(measured "$made/images" --labels "$made/labelled/voc/SegmentationClass" --classes "$made/labelled/voc/labelmap.txt")" ]
