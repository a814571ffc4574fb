"""Takes out of a wheel of TensorFlow what a program needs that links with it.

Two libraries (0.85 GB) and, of 13,000 headers, those that the named ones include. Prints what it found as JSON, or
why it refuses the wheel. Arguments: the wheel, the folder for what is unpacked, Python's name for the processor, and
the headers.
"""

import json
import mmap
import os
import re
import shutil
import sys
import zipfile

LIBRARIES = ("libtensorflow_cc.so.2", "libtensorflow_framework.so.2")


class Refused(Exception):
    pass


def nvidia_path(library):
    """The folders in which a library looks for NVIDIA's, as they are written in it."""
    folders = []
    with open(library, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        at = view.find(b"$ORIGIN")
        while at >= 0:
            end = view.find(b"\0", at)
            text = view[view.rfind(b"\0", 0, at) + 1 : end]
            if b"/nvidia/" in text and len(text) < 65536:
                folders += [part for part in text.decode("ascii", "replace").split(":") if "/nvidia/" in part]
            at = view.find(b"$ORIGIN", end)
    return folders


def take(archive, name, out):
    os.makedirs(os.path.dirname(out), exist_ok=True)
    try:
        with archive.open(name) as source, open(out, "wb") as sink:
            shutil.copyfileobj(source, sink, 1 << 20)
    except KeyError:
        raise Refused("does not contain " + name) from None


def unpack(wheel, target, machine, headers):
    archive = zipfile.ZipFile(wheel)
    names = set(archive.namelist())
    folder = next((name.split("/")[0] for name in names if name.endswith(".dist-info/WHEEL")), None)
    if folder is None:
        raise Refused("has no .dist-info/WHEEL")
    tags = re.findall(r"(?m)^Tag: (.+?)\s*$", archive.read(folder + "/WHEEL").decode())
    metadata = archive.read(folder + "/METADATA").decode("utf-8", "replace")
    if not any("linux" in tag and tag.endswith(machine) for tag in tags):
        raise Refused("is for " + ", ".join(tags) + ", not for Linux on " + machine)

    libraries, nvidia = {}, []
    for name in LIBRARIES:
        out = os.path.join(target, "lib", name)
        take(archive, "tensorflow/" + name, out)
        os.chmod(out, 0o755)
        libraries[name] = os.path.getsize(out)
        nvidia += nvidia_path(out)

    todo, seen = list(headers), set()
    while todo:
        header = todo.pop()
        inside = "tensorflow/include/" + header
        if header in seen or (inside not in names and header not in headers):
            continue
        seen.add(header)
        out = os.path.join(target, "include", header)
        take(archive, inside, out)
        with open(out, encoding="utf-8", errors="replace") as file:
            todo += re.findall(r'(?m)^\s*#\s*include\s+[<"]([^">]+)[">]', file.read())

    return {
        "version": re.search(r"(?m)^Version: (.+?)\s*$", metadata).group(1),
        "libraries": libraries,
        "nvidiaPath": list(dict.fromkeys(nvidia)),
        "nvidiaRequirements": re.findall(r"(?m)^Requires-Dist: (nvidia[^;\s]*)", metadata),
    }


try:
    answer = unpack(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:])
except Refused as error:
    answer = {"refused": str(error)}
except (zipfile.BadZipFile, KeyError, EOFError) as error:
    answer = {"refused": "is damaged (" + str(error) + ")"}
print(json.dumps(answer))
