"""Adds the HEALTHCHECK of a Containerfile to an image in a directory of OCI's layout: `healthcheck.py LAYOUT CONTAINERFILE`.

buildah leaves it out, since OCI's format does not have it. Docker and Podman read it all the same, where BuildKit writes it.
"""

import hashlib
import json
import re
import sys
from pathlib import Path

UNITS = {"ms": 10**6, "s": 10**9, "m": 60 * 10**9}


def nanoseconds(text):
    number, unit = re.fullmatch(r"(\d+)(ms|s|m)", text).groups()
    return int(number) * UNITS[unit]


def healthcheck(containerfile):
    line = re.search(r"^HEALTHCHECK (.*) CMD (\[.*\])$", containerfile, re.MULTILINE)
    check = {"Test": ["CMD", *json.loads(line[2])]}
    for name, value in re.findall(r"--([a-z-]+)=(\S+)", line[1]):
        check["".join(word.capitalize() for word in name.split("-"))] = nanoseconds(value)
    return check


def store(layout, old, document):
    """Puts a blob in the place of an old one; returns what its reference says of it."""
    blob = json.dumps(document, separators=(",", ":"), sort_keys=True).encode()
    digest = hashlib.sha256(blob).hexdigest()
    (layout / "blobs/sha256" / old.removeprefix("sha256:")).unlink()
    (layout / "blobs/sha256" / digest).write_bytes(blob)
    return {"digest": f"sha256:{digest}", "size": len(blob)}


def load(layout, digest):
    return json.loads((layout / "blobs/sha256" / digest.removeprefix("sha256:")).read_bytes())


def main():
    layout, containerfile = Path(sys.argv[1]), Path(sys.argv[2]).read_text()
    index = json.loads((layout / "index.json").read_text())
    (entry,) = index["manifests"]
    manifest = load(layout, entry["digest"])
    config = load(layout, manifest["config"]["digest"])
    config["config"]["Healthcheck"] = healthcheck(containerfile)
    manifest["config"].update(store(layout, manifest["config"]["digest"], config))
    entry.update(store(layout, entry["digest"], manifest))
    # Podman takes the name from OCI's annotation, containerd and Docker from theirs.
    entry["annotations"]["io.containerd.image.name"] = entry["annotations"]["org.opencontainers.image.ref.name"]
    (layout / "index.json").write_text(json.dumps(index, separators=(",", ":"), sort_keys=True))


main()
