"""Compiles CUDA sources with the NVRTC of this Python environment for every architecture that is named; prints one line for each.

    VENV/bin/python tests/cuda/compile.py SOURCE.cu ARCHITECTURE...

Exit code 1 if one does not compile, 77 if the environment has no NVRTC.
"""
import ctypes
import site
import sys
from pathlib import Path


def text(size, get, program):
    length = ctypes.c_size_t()
    size(program, ctypes.byref(length))
    log = ctypes.create_string_buffer(length.value)
    get(program, log)
    return log.value.decode().strip()


def main():
    source, architectures = Path(sys.argv[1]), sys.argv[2:]
    libraries = [path for folder in site.getsitepackages() for path in sorted(Path(folder).glob("nvidia/*/lib/libnvrtc.so.*"))]
    if not libraries:
        print("no libnvrtc in this environment")
        raise SystemExit(77)
    nvrtc = ctypes.CDLL(str(libraries[-1]))
    count = ctypes.c_int()
    nvrtc.nvrtcGetNumSupportedArchs(ctypes.byref(count))
    known = (ctypes.c_int * count.value)()
    nvrtc.nvrtcGetSupportedArchs(known)
    failed = False
    for architecture in architectures:
        if int(architecture) not in known:
            print(f"sm_{architecture}: not known to {libraries[-1].name}, skipped")
            continue
        program = ctypes.c_void_p()
        nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.read_bytes(), source.name.encode(), 0, None, None)
        option = f"--gpu-architecture=sm_{architecture}".encode()
        answer = nvrtc.nvrtcCompileProgram(program, 1, (ctypes.c_char_p * 1)(option))
        size = ctypes.c_size_t()
        nvrtc.nvrtcGetCUBINSize(program, ctypes.byref(size))
        log = text(nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog, program)
        print(f"sm_{architecture}: {f'{size.value} bytes' if answer == 0 else f'error {answer}'} {log}")
        failed |= answer != 0 or size.value == 0
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    raise SystemExit(failed)


if __name__ == "__main__":
    main()
