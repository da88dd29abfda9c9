"""More bad frames: what stands inside, around and between messages, how deep and how long they are. See `frames`."""

from __future__ import annotations

from collections.abc import Callable

from tests.hostile.frames import (
    DOUBTED,
    ERROR,
    ID,
    MIB,
    OK,
    PARAMS,
    PARSE,
    REQUEST,
    RESULT,
    add,
    answer,
    answering,
    each,
    holding,
    request,
)

# -- values inside, in a request and in an answer

NUMBERS = {
    "nan": b"NaN",
    "infinity": b"Infinity",
    "-infinity": b"-Infinity",
    "leading-zero": b"01",
    "minus": b"-",
    "minus-zero-one": b"-01",
    "point-last": b"1.",
    "point-first": b".5",
    "half-exponent": b"1e",
    "signed-exponent": b"1e+",
    "hex": b"0x10",
    "octal": b"0o7",
    "5000-digits": b"9" * 5000,
    "minus-5000-digits": b"-" + b"9" * 5000,
    "underscore": b"1_000",
    "plus": b"+1",
    "comma": b"1,5",
    "big-suffix": b"1n",
    "two-points": b"1.2.3",
    "arabic": "١".encode(),
}
SYNTAX = {
    "comma-last": b"[1,]",
    "comma-last-object": b'{"a":1,}',
    "comma-first": b"[,1]",
    "two-commas": b"[1,,2]",
    "no-comma": b"[1 2]",
    "no-colon": b'{"a" 1}',
    "no-key": b"{1:2}",
    "bare-key": b"{a:1}",
    "single-quotes": b"'a'",
    "backticks": b"`a`",
    "upper-true": b"True",
    "none": b"None",
    "half-true": b"tru",
    "undefined": b"undefined",
    "comment": b"/*c*/1",
    "hash": b"1#",
    "closed-twice": b"[1]]",
    "wrong-close": b"{]",
    "nothing": b"",
    "nul": b"\x001",
    "vertical-tab": b"\x0b1",
    "form-feed": b"\x0c1",
    "nbsp": b"\xc2\xa01",
    "separator": b"\xe2\x80\xa81",
    "bom": b"\xef\xbb\xbf1",
    "zero-width": b"\xe2\x80\x8b1",
    "function": b"f()",
}
STRINGS = {
    "high-surrogate": b'"\\ud800"',
    "low-surrogate": b'"\\udc00"',
    "swapped-surrogates": b'"\\ude00\\ud83d"',
    "surrogate-and-text": b'"\\ud800a"',
    "surrogate-key": b'{"\\ud800":1}',
    "nul": b'"\x00"',
    "control": b'"\x01"',
    "tab": b'"\t"',
    "escape": b'"\x1b[0m"',
    "cr": b'"\r"',
    "bad-escape": b'"\\q"',
    "hex-escape": b'"\\x41"',
    "short-escape": b'"\\u12"',
    "brace-escape": b'"\\u{41}"',
    "upper-escape": b'"\\U0041"',
    "open": b'"open',
    "escaped-quote": b'"\\"',
    "unit-separator": b'"\x1f"',
}
UTF8 = {
    "overlong-slash": b"\xc0\xaf",
    "overlong-nul": b"\xc0\x80",
    "overlong-3": b"\xe0\x80\xaf",
    "overlong-4": b"\xf0\x80\x80\xaf",
    "surrogate": b"\xed\xa0\x80",
    "cesu": b"\xed\xa0\xbd\xed\xb8\x80",
    "cut-2": b"\xc3",
    "cut-3": b"\xe2\x82",
    "cut-4": b"\xf0\x9f\x98",
    "continuation": b"\x80",
    "fe": b"\xfe",
    "ff": b"\xff",
    "five-bytes": b"\xf8\x88\x80\x80\x80",
    "too-high": b"\xf4\x90\x80\x80",
    "latin-1": b"caf\xe9",
}
BAD_TEXTS = {f"utf8-{name}": b'"%b"' % value for name, value in UTF8.items()} | {"utf8-key": b'{"\xff":1}'}
BAD_VALUES = {
    **{f"number-{name}": value for name, value in NUMBERS.items()},
    **{f"syntax-{name}": value for name, value in SYNTAX.items()},
    **{f"text-{name}": value for name, value in STRINGS.items()},
    **BAD_TEXTS,
}
add("value", each(holding, BAD_VALUES), (ID, PARSE))
add("answer-value", each(answering, BAD_VALUES), anything=True, server=ERROR)
FINE = {
    "minus-zero": b"-0",
    "2^70": str(2**70).encode(),
    "4300-digits": b"9" * 4300,
    "5000-digits-in-text": b'"%b"' % (b"9" * 5000),
    "1e999": b"1e999",
    "1e-999": b"1e-999",
    "long-fraction": b"0." + b"1" * 500,
    "del": b'"\x7f"',
    "nul-escaped": b'"\\u0000"',
    "separators": b'"\xe2\x80\xa8\xe2\x80\xa9"',
    "bom-inside": b'"\xef\xbb\xbf"',
    "noncharacter": b'"\xef\xbf\xbf"',
    "pair-escaped": b'"\\ud83d\\ude00"',
    "slash-escaped": b'"\\/"',
    "empty-key": b'{"":1}',
    "same-key": b'{"a":1,"a":2}',
    "html": b'"<!--"',
    "blanks": b" \t 1 \t ",
    "brackets-in-text": b'"%b"' % (b"[" * 500 + b"]" * 500),
    "message-in-text": b'"{\\"jsonrpc\\":\\"2.0\\",\\"id\\":1}"',
    "bidi": b'"\xe2\x80\xae"',
}
add("fine", each(holding, FINE), (ID, OK))
add("answer-fine", each(answering, FINE), anything=True, server=RESULT)

# -- nesting: the envelope and params are two levels


def nested(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


def boxed(levels: int) -> bytes:
    return b'{"a":' * levels + b"1" + b"}" * levels


def veiled(levels: int) -> bytes:
    """Where counting brackets is led astray by those in strings."""
    return b'["}",' * levels + b"1" + b"]" * levels


SHAPES = {"arrays": nested, "objects": boxed, "veiled": veiled}
for _shape, _make in SHAPES.items():
    for _levels in (64, 65, 125, 126):
        add("deep", {f"{_shape}-{_levels}": holding(_make(_levels))}, (ID, OK))
        add("answer-deep", {f"{_shape}-{_levels}": answering(_make(_levels))}, anything=True, server=RESULT)
    for _levels in (127, 128, 129, 500, 1000, 100_000):
        add("deep", {f"{_shape}-{_levels}": holding(_make(_levels))}, (ID, REQUEST))
        add("answer-deep", {f"{_shape}-{_levels}": answering(_make(_levels))}, anything=True, server=ERROR)
add("deep", {"member-127": request(extra=b',"x":' + nested(127))}, (ID, OK))
add(
    "deep",
    {"member-128": request(extra=b',"x":' + nested(128)), "member-100k": request(extra=b',"x":' + nested(100_000))},
    (ID, REQUEST),
)
add("deep", {"method-500": request(method=nested(500))}, (ID, REQUEST))
add("deep", {"only-open-100k": b"[" * 100_000}, (None, REQUEST))

# -- white space and marks around

CR_INSIDE = request().replace(b",", b",\r")
add(
    "around",
    {
        "crlf": request() + b"\r",
        "lflf": request() + b"\n",
        "tabs": b"\t\t " + request() + b" \t",
        "cr-inside": CR_INSIDE,
        "blank-lines": b"\n\n" + request(),
    },
    (ID, OK),
)
add("around", {"spaced-out": request().replace(b":", b" : ").replace(b",", b" , ")}, (ID, OK))
add(
    "around",
    {"bom": b"\xef\xbb\xbf" + request(), "nul-before": b"\x00" + request(), "nul-behind": request() + b"\x00"},
    (ID, PARSE),
)
add(
    "around",
    {
        "text-before": b"ready " + request(),
        "text-behind": request() + b" done",
        "comment-behind": request() + b" // x",
        "comma-behind": request() + b",",
    },
    (ID, PARSE),
)
add(
    "around",
    {
        "semicolon": request() + b";",
        "brace-behind": request() + b"}",
        "rs-before": b"\x1e" + request(),
        "nbsp-before": b"\xc2\xa0" + request(),
    },
    (ID, PARSE),
)
add("around", {"sse": b"data: " + request()}, (ID, PARSE))
add("around", {"two-on-a-line": request() + request(), "two-with-cr": request() + b"\r" + request()}, (ID, PARSE))
add(
    "answer-around",
    {"crlf": answer() + b"\r", "blanks": b"  " + answer() + b"  ", "blank-lines": b"\n\n" + answer() + b"\n\n"},
    server=RESULT,
)
add("answer-around", {"bom": b"\xef\xbb\xbf" + answer(), "nul": b"\x00" + answer()}, anything=True, server=ERROR)
add(
    "answer-around",
    {"text-behind": answer() + b" done", "two-on-a-line": answer() + answer()},
    anything=True,
    server=ERROR,
)
add(
    "answer-around",
    {"text-before": b"loading... " + answer(), "log-of-it": b"[DEBUG] said " + answer(), "two-dots": b".." + answer()},
    anything=True,
    server=DOUBTED,
)

# -- size: 16 MiB is the limit of a line

LIMIT = 16 * MIB


def padded(size: int, head: bytes, tail: bytes) -> Callable[[], bytes]:
    """A frame of exactly `size` bytes when an id of six digits is filled in, without its newline."""
    holes = head + tail
    return lambda: head + b"x" * (size - len(holes) - (6 - 4) * holes.count(b"@ID@")) + tail


def spread(size: int, *, last: bool) -> Callable[[], bytes]:
    """An answer of this size whose id is at its beginning or at its end."""
    if last:
        return padded(size, b'{"jsonrpc":"2.0","result":{"content":[],"x":"', b'"},"id":@ID@}')
    return padded(size, b'{"jsonrpc":"2.0","id":@ID@,"result":{"content":[],"x":"', b'"}}')


def sized(size: int) -> Callable[[], bytes]:
    return padded(size, b'{"jsonrpc":"2.0","id":@ID@,"method":"tools/list","params":{},"x":"', b'"}')


add("size", {"limit-1": sized(LIMIT - 1), "limit": sized(LIMIT)}, (ID, PARAMS), legacy=((ID, OK),))
add("size", {"limit+1": sized(LIMIT + 1), "40-mib": sized(40 * MIB)}, (ID, REQUEST))
add(
    "size",
    {"id-last": padded(LIMIT + 1, b'{"jsonrpc":"2.0","method":"tools/list","x":"', b'","id":@ID@}')},
    (ID, REQUEST),
)
add(
    "size",
    {"id-in-the-middle": lambda: b'{"x":"' + b"x" * LIMIT + b'","id":@ID@,"y":"' + b"y" * LIMIT + b'"}'},
    (None, REQUEST),
)
add("size", {"garbage": lambda: b"g" * (LIMIT + 1)}, (None, REQUEST))
add("size", {"blanks": lambda: b" " * (LIMIT + 1)})
add(
    "answer-size",
    {"limit+1": spread(LIMIT + 1, last=False), "id-last": spread(LIMIT + 1, last=True)},
    anything=True,
    server=ERROR,
)
add("answer-size", {"above-max-frame": spread(9 * MIB, last=False)}, anything=True, server=ERROR)
add("answer-size", {"1-mib": spread(MIB, last=True)}, anything=True, server=RESULT)
