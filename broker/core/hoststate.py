"""What plugins keep for themselves: one small JSON file for each, in a folder of the state.

Rule 1: a value is on the disk before its plugin hears that it was kept, and the file is replaced as a whole.
Rule 2: brokers share the files: each change is made to what is there now, alone.
Rule 3: a file that cannot be read is said, and never written over.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
from msgspec import Raw

from broker.errors import FrameTooLarge, HostFailed
from broker.permissions.written import alone, replace_file

MOST = 1 << 20  # bytes of all a plugin keeps
MOST_KEYS = 1000

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Raw]).decode
NULL = b"null"


class Store:
    """What all plugins keep, in `folder`. Each method raises `HostFailed`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def get(self, plugin: str, key: str) -> bytes:
        """The value as JSON; null if there is none."""
        return await asyncio.to_thread(self._get, plugin, key)

    async def set(self, plugin: str, key: str, value: bytes) -> None:
        """Keep a value; null takes it away. Raises `FrameTooLarge` too."""
        await asyncio.to_thread(self._set, plugin, key, value)

    def _get(self, plugin: str, key: str) -> bytes:
        return bytes(self._read(plugin).get(key, NULL))

    def _set(self, plugin: str, key: str, value: bytes) -> None:
        try:
            with alone(self._path(plugin)):
                held = self._read(plugin)
                held.pop(key, None)
                if value.strip() != NULL:
                    held[key] = Raw(value)
                data = _encode(held)
                if len(data) > MOST or len(held) > MOST_KEYS:
                    raise FrameTooLarge(
                        f"{plugin} may keep {MOST >> 20} MiB under {MOST_KEYS} keys",
                        hint="Set some of what it keeps to null first.",
                    )
                replace_file(self._path(plugin), data)
        except OSError as error:
            raise HostFailed(f"what {plugin} keeps cannot be written: {error}") from None

    def _read(self, plugin: str) -> dict[str, Raw]:
        try:
            return _decode(self._path(plugin).read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.MsgspecError) as error:
            raise HostFailed(f"what {plugin} keeps cannot be read: {error}") from None

    def _path(self, plugin: str) -> Path:
        return self._folder / f"{plugin}.json"
