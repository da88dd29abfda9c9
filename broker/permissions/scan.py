"""What in a definition a person should look at twice before it is approved: hidden characters, orders to the model.

Rule 1: every text counts, wherever it stands: names, descriptions, schemas, defaults, enums, annotations, `_meta`.
Rule 2: characters nobody can see are certain; words are a guess. What is found is shown, nothing is refused by it.
Rule 3: words weigh; a definition whose words weigh `HIGH` together is flagged high. One weak word alone never is.
        (Weights are ours, set so that no tool of the 17 real servers in the tests is high and each of the known
        attacks in `tests/permissions/poison.py` is.)
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any, Literal, cast

from msgspec import Struct

HIGH, MEDIUM = 6, 3
LONGEST = 64 << 10  # characters of one text that are searched for words; hidden characters are found in all of it
_FLAGS = re.compile("\U0001f3f4\U000e0067\U000e0062(?:\U000e0065\U000e006e\U000e0067|\U000e0073\U000e0063\U000e0074"
                    "|\U000e0077\U000e006c\U000e0073)\U000e007f")  # fmt: skip
# What is there and takes no room. ZERO WIDTH (NON-)JOINER are letters' business in many scripts, and emoji's.
_HIDDEN: tuple[tuple[int, str, re.Pattern[str]], ...] = (
    (HIGH, "tag characters, which only a model reads", re.compile("[\U000e0000-\U000e007f]")),
    (HIGH, "characters that turn the direction of text around", re.compile("[\u202a-\u202e\u2066-\u2069]")),
    (HIGH, "control characters of a terminal", re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")),
    (HIGH, "characters nobody can see",
     re.compile("[\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180e\u200b\u2060-\u2065\u206a-\u206f\u3164\ufeff\uffa0"
                "\U0001d173-\U0001d17a]|(?<=[\x21-\x7e])[\u200c\u200d](?=[\x21-\x7e])")),
    (HIGH, "a row of variation selectors, which can carry a text", 
     re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]{2}")),
    (MEDIUM, "characters for private use", re.compile("[\ue000-\uf8ff\U000f0000-\U0010ffff]")),
    (1, "marks of direction", re.compile("[\u061c\u200e\u200f]")),
)  # fmt: skip
# Cyrillic letters, and Greek ones that look like Latin ones, in a word with Latin ones. "\u03bcs" is none.
_LETTERS = re.compile(
    r"\b(?=\w*[A-Za-z])(?=\w*[\u0391\u0392\u0395-\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7\u03bf"
    r"\u0400-\u052f])\w+"
)
_SECRET = (
    r"(?:~/\.|\.ssh\b|id_rsa|\.env\b|\.aws\b|\.netrc|\.git-credentials|/etc/(?:passwd|shadow)|mcp\.json|\.cursor\b"
    r"|claude_desktop_config|private key|ssh keys?|(?:api|access|secret|auth) ?(?:key|token)s?|passwords?|credentials?"
    r"|environment variables)"
)
_NOT_TELL = r"(?:tell|mention|inform|reveal|show|notify|alert|ask|disclose|let|bother|explain|log|display|report|warn)"
# Over text in lower case and NFKC, without hidden characters, each run of white space one space.
_WORDS: tuple[tuple[int, str, str], ...] = (
    (6, "tells the model to drop its instructions",
     r"\b(?:ignor\w+|disregard\w*|forget|overrid\w+|bypass)\b.{0,40}"
     r"\b(?:previous|prior|earlier|above|preceding|all other|system|safety|developer)\b.{0,30}"
     r"\b(?:instructions?|prompts?|rules|messages?|guidelines|context|polic(?:y|ies))"),
    (6, "tells the model to hide something from the user",
     r"\b(?:do not|don'?t|never|must not|should not|without|avoid|no need to)\b.{0,20}"
     rf"\b{_NOT_TELL}(?:ing)?\b.{{0,40}}\b(?:the |your |this )?(?:user|human|person|developer|anyone|operator)\b"),
    (6, "says that the user must not know",
     r"\b(?:user|human)s? (?:must|should|may|does|do|will|shall|need)(?: not|n'?t)\b.{0,25}"
     r"\b(?:know|see|notice|be (?:told|informed|aware|asked)|learn)\b"),
    (4, "looks like a message of the system",
     r"<\s*/?(?:important|system|secret|instructions?|critical|hidden|admin|assistant|sys)\s*>|<\|\w+\|>"
     r"|\[/?(?:system|inst|sys|admin)(?: \w+)?\]|\bsystem (?:message|override|notice|instruction)s?\s*:"
     r"|(?:^| )###? ?(?:system|new instructions?)"),
    (3, "gives the model a new role",
     r"\byou are now\b|\bfrom now on,? you\b|\byour (?:new|real|true) (?:task|role|goal|instructions?)\b"
     r"|\bnew instructions?\s*:|\bact as (?:an? )?(?:admin|root|system|unrestricted)"),
    (3, "demands something before, or after, other tools are used",
     r"\b(?:before|after|when(?:ever)?|prior to|each time|every time)\b.{0,30}"
     r"\b(?:us(?:e|ing)|call(?:ing)?|invok(?:e|ing)|run(?:ning)?|execut(?:e|ing))\b.{0,20}"
     r"\b(?:this|any|other|every|all|each|another)\b(?: \w+)? (?:tools?|functions?|servers?).{0,80}"
     r"\b(?:must|always|first|read|call|send|include|pass|append|required)\b"),
    (3, "puts itself above other tools",
     r"\b(?:instead of|rather than|never use|do not use|don'?t use|must not use)\b.{0,25}\b(?:the )?(?:other|any other"
     r"|all other|built-?in)\b.{0,15}\btools?\b|\btakes? (?:precedence|priority) over (?:all|any|every|other)\b"
     r"|\boverrides? (?:all|any|every|the)\b|\bother tools? (?:is|are) (?:broken|deprecated|unsafe|disabled)"),
    (2, "names secrets or files that hold them", _SECRET),
    (4, "wants a file or a secret to be read and handed over",
     r"(?<!not )(?<!never )(?<!n't )\b(?:read|open|load|cat|get|fetch|collect|find|access|retrieve|include|extract)\b"
     rf".{{0,60}}{_SECRET}.{{0,160}}"
     r"\b(?:pass|send|put|include|append|provide|attach|add|forward|upload|parameter|argument|field)"),
    (3, "wants something passed in a side channel",
     r"\b(?:pass|put|include|insert|add|append|embed|provide|write|place|encode)\b.{0,80}"
     r"\b(?:as|in|into|to|via|through)\b.{0,20}\b(?:sidenote|side note|hidden|feedback|metadata|the \W?\w+\W?"
     r" (?:parameter|argument|field))\b"
     r".{0,120}\b(?:otherwise|will not work|won'?t work|fail|required|must|crash|do not|don'?t)\b"),
    (4, "wants something sent away",
     r"\b(?:send|forward|post|upload|exfiltrat\w+|transmit|leak|bcc|cc|redirect|copy)\b.{0,80}"
     r"\b(?:to|at|via)\b.{0,40}(?:https?://|[\w.+-]+@[\w-]+\.\w+|\+\d{6,}|\b\d{1,3}(?:\.\d{1,3}){3}\b)"),
    (2, "speaks of the conversation or of the model's own prompt",
     r"\b(?:conversation|chat|message) (?:history|log|transcript|content)\b|\bsystem prompt\b"
     r"|\b(?:entire|full|whole|all (?:the )?(?:previous|prior|past)) (?:conversations?|chats?|contexts?|messages?)\b"),
    (2, "wants to act unseen", r"\b(?:secretly|silently|covertly|quietly|stealthily|in the background without)\b"),
    (2, "insists",
     r"\b(?:very important|critical|crucial|mandatory|urgent)\b.{0,3}[:!]|\byou must always\b|!!!"
     r"|\bthis is (?:a )?(?:required|mandatory|necessary) (?:step|procedure|for (?:security|compliance))"),
    (2, "wants commands to be run", r"\bcurl (?:-\w+ )*https?://|\bwget |\|\s*(?:ba|z)?sh\b|\beval\(|\bbase64 -d"),
    (2, "a long run of letters that may be an encoded text", r"[a-z0-9+/]{200,}={0,2}"),
)  # fmt: skip
_GAP = re.compile(r"(?<!\s)\s{15,}+(?=\S)")
WIDE, TALL = 100, 15  # columns and lines of nothing, after which text is out of sight

Level = Literal["high", "medium", "low"]


class Flag(Struct, frozen=True, kw_only=True):
    """One thing found in a definition; `where` leads to it: `inputSchema.properties.path.description`."""

    weight: int
    what: str
    where: str
    found: str  # the part of the text, with what is invisible made visible


def scan(raw: bytes) -> list[Flag]:
    """Everything to look at in a definition, the weightiest first. Never raises: what is no JSON is one flag."""
    try:
        texts = list(_texts(json.loads(raw, object_pairs_hook=_Pairs), ""))
    except (ValueError, RecursionError) as error:
        return [Flag(weight=HIGH, what="it cannot be read", where="", found=str(error))]
    found = [flag for where, text in texts for find in (_hidden, _gaps, _worded) for flag in find(where, text)]
    found += _twice(texts)
    return sorted(found, key=lambda flag: -flag.weight)


def level(flags: Iterable[Flag]) -> Level | None:
    """How much there is to look at; each kind of finding counts once."""
    weight = sum({flag.what: flag.weight for flag in flags}.values())
    if weight >= HIGH:
        return "high"
    if weight >= MEDIUM:
        return "medium"
    return "low" if weight else None


def visible(text: str) -> str:
    """The text with everything a terminal would act on, or a person would not see, written as `\\u{200b}`."""
    return "".join(char if _plain(char) else f"\\u{{{ord(char):x}}}" for char in text)


class _Pairs(list[tuple[str, Any]]):
    """The members of an object, also those that stand twice."""


def _texts(value: Any, where: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield where, value
    elif isinstance(value, _Pairs):
        names = [name for name, _ in value]
        for name, item in value:
            path = f"{where}.{name}" if where else name
            yield f"{path} (its name)", name
            if names.count(name) > 1:
                yield f"{path} (twice)", ""
            yield from _texts(item, path)
    elif isinstance(value, list):
        for at, item in enumerate(cast("list[Any]", value)):
            yield from _texts(item, f"{where}[{at}]")


def _twice(texts: Iterable[tuple[str, str]]) -> Iterator[Flag]:
    for where in {where for where, text in texts if not text and where.endswith(" (twice)")}:
        yield Flag(weight=HIGH, what="a member that stands twice is read in two ways", where=where, found="")


def _hidden(where: str, text: str) -> Iterator[Flag]:
    if text.isascii() and text.isprintable():
        return
    bare = _FLAGS.sub("", text)
    for weight, what, pattern in _HIDDEN:
        if match := pattern.search(bare):
            yield Flag(weight=weight, what=what, where=where, found=_around(bare, match.start(), match.end()))
    if match := _LETTERS.search(bare):
        yield Flag(weight=MEDIUM, what="letters of two scripts in one word", where=where, found=visible(match[0]))


def _gaps(where: str, text: str) -> Iterator[Flag]:
    for gap in _GAP.finditer(text):
        lines = gap[0].split("\n")
        if len(lines) > TALL or max(map(len, lines)) >= WIDE:
            yield Flag(weight=4, what="text pushed out of sight", where=where, found=visible(text[gap.end() :][:80]))
            return


def _worded(where: str, text: str) -> Iterator[Flag]:
    if len(text) < 8:
        return
    plain = " ".join(_bare(text[:LONGEST]).split())
    for weight, what, pattern in _WORDS:
        if match := re.search(pattern, plain):
            yield Flag(weight=weight, what=what, where=where, found=_around(plain, match.start(), match.end()))


def _bare(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).lower().replace("\u2019", "'")
    return "".join(char for char in folded if _plain(char) or char.isspace())


def _around(text: str, start: int, end: int) -> str:
    return visible(text[max(0, start - 20) : min(end, start + 200) + 20])


def _plain(char: str) -> bool:
    if char.isascii():
        return char.isprintable()
    return unicodedata.category(char) not in ("Cc", "Cf", "Co", "Cn", "Cs", "Zl", "Zp") and not _is_blank(char)


def _is_blank(char: str) -> bool:
    """Letters and marks by their category that show nothing."""
    return char in "\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0" or "\ufe00" <= char <= "\ufe0e" or char >= "\U000e0100"
