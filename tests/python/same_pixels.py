"""Prints how many percent of two 8-bit grey PNGs' pixels are the same. Python's own library alone: CI's first step has no other."""

import struct
import sys
import zlib


def pixels(path):
    data = open(path, "rb").read()
    at, body, header = 8, b"", None
    while at < len(data):
        (length,), kind = struct.unpack(">I", data[at : at + 4]), data[at + 4 : at + 8]
        chunk = data[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            header = struct.unpack(">IIBBBBB", chunk)
        elif kind == b"IDAT":
            body += chunk
        at += 12 + length
    width, height, depth, colour, _, _, interlace = header
    if (depth, colour, interlace) != (8, 0, 0):
        sys.exit(f"{path}: expected 8-bit grey without interlace, found {header}")
    raw, rows, above = zlib.decompress(body), [], bytes(width)
    for y in range(height):
        kind, line = raw[y * (width + 1)], bytearray(raw[y * (width + 1) + 1 : (y + 1) * (width + 1)])
        for x in range(width):
            left, up, corner = (line[x - 1] if x else 0), above[x], (above[x - 1] if x else 0)
            if kind == 1:
                guess = left
            elif kind == 2:
                guess = up
            elif kind == 3:
                guess = (left + up) // 2
            elif kind == 4:
                estimate = left + up - corner
                guess = min((left, up, corner), key=lambda value: abs(estimate - value))
            else:
                guess = 0
            line[x] = (line[x] + guess) & 255
        above = bytes(line)
        rows.append(above)
    return b"".join(rows)


one, two = pixels(sys.argv[1]), pixels(sys.argv[2])
if len(one) != len(two):
    sys.exit(f"expected pictures of one size, found {len(one)} and {len(two)} pixels")
print(f"{100 * sum(a == b for a, b in zip(one, two)) / len(one):.3f}")
