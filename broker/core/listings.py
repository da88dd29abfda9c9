"""What plugins showed, kept on disk, so that a list can be answered without starting anyone.

A file is named by a digest of everything that makes a plugin what it is: its command, its environment, the
program found for it and the files it is given, with their sizes and times. Change one and it is met anew.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import msgspec

from broker.model import Listing, Spec
from broker.permissions.written import replace_file

log = logging.getLogger("broker.listings")
FORMAT = 1  # of the files; another number is another digest

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Listing).decode


class Listings:
    """The folder of listings; `folder` None keeps nothing."""

    def __init__(self, folder: Path | None, environ: Mapping[str, str] = os.environ) -> None:
        self._folder, self._environ = folder, environ

    def get(self, spec: Spec) -> Listing | None:
        """What this plugin showed when it was last started, if it is still the same."""
        if self._folder is None:
            return None
        try:
            return _decode(self._path(self._folder, spec).read_bytes())
        except (OSError, ValueError):  # never seen, or a torn or foreign file: it is met anew
            return None

    def put(self, spec: Spec, listing: Listing) -> None:
        """Keep it; a disk that refuses costs the next start its speed, nothing else."""
        if self._folder is None:
            return
        try:
            replace_file(self._path(self._folder, spec), _encode(listing))
        except OSError as error:
            log.warning("the lists of %s cannot be kept: %s", spec.name, error)

    def _path(self, folder: Path, spec: Spec) -> Path:
        return folder / f"{spec.name}-{digest(spec, self._environ)[:32]}.json"


def digest(spec: Spec, environ: Mapping[str, str]) -> str:
    """What makes this plugin the one it is, as a hex SHA-256."""
    words = [str(FORMAT), spec.entry or "", spec.cwd or "", *spec.command]
    words += [f"{name}={value}" for name, value in sorted(spec.env.items())]
    files = [spec.entry] if spec.entry else []
    if spec.command:
        files += [
            shutil.which(spec.command[0], path=spec.env.get("PATH", environ.get("PATH"))),
            *spec.command[1:],
        ]
    words += [_stamp(os.path.join(spec.cwd or "", name)) for name in files if name]
    return hashlib.sha256("\0".join(words).encode("utf-8", "surrogatepass")).hexdigest()


def _stamp(path: str) -> str:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return ""
    return f"{status.st_size}:{status.st_mtime_ns}" if os.path.isfile(path) else ""
