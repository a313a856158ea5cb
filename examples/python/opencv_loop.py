"""Segments what OpenCV reads, a clip or a camera, and writes the picture with its masks:

python opencv_loop.py clip.mp4 "person, dog" masks.avi
python opencv_loop.py 0 "person, dog" masks.avi         # the first camera, until Ctrl-C
"""

import sys

import cv2

import edge_seg


def main(source: str, words: str, out: str) -> None:
    model = edge_seg.Model()
    looked_for = model.words(words)
    capture = cv2.VideoCapture(int(source) if source.isdigit() else source)
    if not capture.isOpened():
        sys.exit(f"{source}: OpenCV cannot open it")
    writer = None
    try:
        while True:
            there, frame = capture.read()
            if not there:
                break
            found = model.segment(frame, looked_for, order="bgr")  # OpenCV's pictures are blue first
            print(", ".join(f"{one.name} {one.share:.1%}" for one in found.classes))
            drawn = cv2.cvtColor(found.overlay(), cv2.COLOR_RGB2BGR)
            if writer is None:
                rate = capture.get(cv2.CAP_PROP_FPS) or 25
                writer = cv2.VideoWriter(out, cv2.VideoWriter.fourcc(*"MJPG"), rate, (frame.shape[1], frame.shape[0]))
            writer.write(drawn)
    except KeyboardInterrupt:
        pass
    finally:
        capture.release()
        if writer is not None:
            writer.release()


if __name__ == "__main__":
    main(*sys.argv[1:])
