"""All the ways a value is usually written: plain, in JSON, in a URL, in base64 at every offset, in hex."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

_LINE = 16  # characters a line of a value of many lines needs to count alone
_BREAKS = re.compile(r"[\r\n]+")


def spellings(value: str, least: int) -> Iterator[bytes]:
    """Every spelling of `value` without a line break, some more than once; `least` bytes at least of base64."""
    for each in _lines(value):
        yield from _spelt(each, least)


def _lines(value: str) -> Iterator[str]:
    """The value, also as one line, and those of its lines that are long enough to be told from other text."""
    yield value
    if _BREAKS.search(value):
        yield _BREAKS.sub("", value)
        yield from (line.strip() for line in _BREAKS.split(value) if len(line.strip()) >= _LINE)


def _spelt(value: str, least: int) -> Iterator[bytes]:
    """Every way a value is usually written that no line break is a part of."""
    for text in (*_in_json(value), *_in_url(value)):
        if _BREAKS.search(text) is None:
            yield text.encode("utf-8", "surrogatepass")
    data = value.encode("utf-8", "surrogatepass")
    yield data.hex().encode()
    yield data.hex().upper().encode()
    for text in _in_base64(data, least):
        yield text
        yield quote(text, safe="").encode()


def _in_json(value: str) -> Iterator[str]:
    """Plain, then as text of JSON, and of JSON that stands in a text of JSON."""
    yield value
    for ascii_only in (True, False):
        once = json.dumps(value, ensure_ascii=ascii_only)[1:-1]
        for text in (once, once.replace("/", "\\/"), _for_html(once, "<>&"), _for_html(once, "<>&'")):
            yield text
            yield re.sub(r"\\u[0-9a-f]{4}", lambda found: "\\u" + found[0][2:].upper(), text)
            yield json.dumps(text, ensure_ascii=False)[1:-1]


def _for_html(text: str, marks: str) -> str:
    """As Go writes it (`<>&`), and PHP (the apostrophe too)."""
    for mark in marks:
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return text


def _in_url(value: str) -> Iterator[str]:
    value = value.encode("utf-8", "replace").decode()
    whole = "".join(f"%{byte:02X}" for byte in value.encode())
    # What stays as it is differs: RFC 3986 alone, paths, encodeURIComponent, encodeURI, forms, and everything encoded.
    safe = ("", "/", "!*'()~", "!*'()~;,/?:@&=+$#")
    for text in (*(quote(value, safe=each) for each in safe), quote_plus(value), whole):
        yield text
        yield re.sub(r"%[0-9A-F]{2}", lambda found: found[0].lower(), text)


def _in_base64(data: bytes, least: int) -> Iterator[bytes]:
    """What of it is the same whatever stands around it, for each of the three places a byte can have in a group."""
    for offset in range(3):
        whole = base64.b64encode(bytes(offset) + data).rstrip(b"=")
        first = (offset * 8 + 5) // 6
        last = (offset + len(data)) * 8 // 6
        for text in (whole[first:last], whole[first:] if offset == 0 else b""):
            if len(text) >= least:
                yield text
                yield text.translate(bytes.maketrans(b"+/", b"-_"))
