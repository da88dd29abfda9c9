"""Values that must be seen nowhere, and the ways a program may write one."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

CANARIES = (
    "canary-7f3a9c51e2",
    'p"w\\d/with<all>&the+odd=ones?',
    "schlüssel-日本-🔑",
    "sk-proj-" + "Ab1_" * 30,
    "abc123",
)


def written(value: str) -> Iterator[tuple[str, str]]:
    """Each way by its name."""
    data = value.encode()
    yield "plain", value
    yield "JSON", json.dumps(value)
    yield "JSON with its letters", json.dumps(value, ensure_ascii=False)
    yield "JSON with capitals", re.sub(r"(?<=\\u)[0-9a-f]{4}", lambda found: found[0].upper(), json.dumps(value))
    yield "JSON in JSON", json.dumps(json.dumps({"key": value}))
    yield "JSON with slashes", json.dumps(value).replace("/", "\\/")
    yield "JSON for HTML", json.dumps(value).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    yield "URL", quote(value, safe="")
    yield "URL path", quote(value)
    yield "URL component", quote(value, safe="!~*'()")
    yield "URL form", quote_plus(value)
    yield "URL in small letters", _small(quote(value, safe=""))
    yield "URL, everything", "".join(f"%{byte:02X}" for byte in data)
    yield "hex", data.hex()
    yield "HEX", data.hex().upper()
    for offset in range(3):
        around = b"user:"[:offset] + data + b"!?"
        for kind, encode in (("base64", base64.b64encode), ("base64url", base64.urlsafe_b64encode)):
            yield f"{kind} at {offset}", encode(around).decode()
            yield f"{kind} at {offset}, alone", encode(b"::"[:offset] + data).decode().rstrip("=")


def shown_in(text: str, value: str) -> list[str]:
    """The ways in which `value` stands in `text`."""
    return [name for name, form in _telling(value) if form in text]


def _telling(value: str) -> Iterator[tuple[str, str]]:
    """What must not stand anywhere: of base64, what its neighbours do not change."""
    data = value.encode()
    for name, text in written(value):
        if not name.startswith("base64"):
            yield name, text
    for offset in range(3):
        whole = base64.b64encode(bytes(offset) + data).decode().rstrip("=")
        core = whole[(offset * 8 + 5) // 6 : (offset + len(data)) * 8 // 6]
        yield f"base64 at {offset}", core
        yield f"base64url at {offset}", core.translate(str.maketrans("+/", "-_"))


def _small(text: str) -> str:
    parts = text.split("%")
    return parts[0] + "".join("%" + part[:2].lower() + part[2:] for part in parts[1:])
