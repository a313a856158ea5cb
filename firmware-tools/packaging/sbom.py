#!/usr/bin/env python3
"""Writes a bill of materials of the programs, as CycloneDX 1.6 JSON, from what cargo says of the locked crates.

    cargo metadata --locked --format-version 1 --filter-platform aarch64-unknown-linux-gnu | sbom.py VERSION > edge-seg.cdx.json

Listed is what is linked into `edge-seg` or `edge-seg-fw`: macros, build scripts and tests, with what they alone use, are left out.
"""
import json
import sys

PROGRAMS = ("edge-seg", "edge-seg-fw")


def linked(metadata):
    """The packages that the programs link, by what the resolver found."""
    packages = {p["id"]: p for p in metadata["packages"]}
    nodes = {n["id"]: n for n in metadata["resolve"]["nodes"]}
    members = set(metadata["workspace_members"])
    waiting = [i for i in members if packages[i]["name"] in PROGRAMS]
    if len(waiting) != len(PROGRAMS):
        raise SystemExit(f"sbom: expected the packages {', '.join(PROGRAMS)} in the workspace, found {len(waiting)} of them")
    seen = set()
    while waiting:
        package = waiting.pop()
        if package in seen or any("proc-macro" in t["kind"] for t in packages[package]["targets"]):
            continue
        seen.add(package)
        waiting += [d["pkg"] for d in nodes[package]["deps"] if any(k["kind"] is None for k in d["dep_kinds"])]
    return sorted((packages[i] for i in seen), key=lambda p: (p["name"], p["version"])), members


def component(package, ours):
    purl = f"pkg:cargo/{package['name']}@{package['version']}"
    found = {"type": "library", "bom-ref": purl, "name": package["name"], "version": package["version"]}
    if not ours:
        found["purl"] = purl
    if package["license"]:
        found["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    return found


def main():
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    packages, members = linked(json.load(sys.stdin))
    bill = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "application", "bom-ref": "edge-seg", "name": "edge-seg", "version": sys.argv[1]}},
        "components": [component(p, p["id"] in members) for p in packages],
    }
    json.dump(bill, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
