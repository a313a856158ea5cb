"""Segments a Raspberry Pi's camera through picamera2:

python picamera2_loop.py "person, dog"                  # the camera, until Ctrl-C
python picamera2_loop.py "person, dog" clip.mp4         # a clip in the camera's place, elsewhere

picamera2's "RGB888" is blue, green, red in memory, as OpenCV has it, and its lines may be padded: the array is taken as it is. The
session reads the camera on a thread of its own, and takes the newest frame where frames come faster than masks.
"""

import sys
from collections.abc import Iterator
from typing import Any

import edge_seg


class Clip:
    """What picamera2's camera does here, by a clip."""

    def __init__(self, path: str) -> None:
        import cv2

        self.capture = cv2.VideoCapture(path)

    def capture_array(self) -> Any:
        there, frame = self.capture.read()
        if not there:
            raise EOFError
        return frame


def camera() -> Any:
    from picamera2 import Picamera2

    device = Picamera2()
    device.configure(device.create_video_configuration(main={"size": (1280, 720), "format": "RGB888"}))
    device.start()
    return device


def frames(device: Any) -> Iterator[Any]:
    try:
        while True:
            yield device.capture_array()
    except EOFError:
        return


def main(words: str, clip: str | None = None) -> None:
    model = edge_seg.Model()
    device = Clip(clip) if clip else camera()
    with edge_seg.Live(model, frames(device), words, order="bgr", pace="every" if clip else "live") as live:
        try:
            for shown in live:
                told = ", ".join(f"{one.name} {one.share:.1%}" for one in shown.found.classes)
                print(f"{shown.sequence}: {told}, {shown.latency * 1e3:.0f} ms, {shown.dropped} dropped")
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main(*sys.argv[1:])
