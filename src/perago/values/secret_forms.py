"""The forms in which a secret comes out of a program: escaped, quoted, encoded, or one line at a time."""

from __future__ import annotations

import base64
import re
import string
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

MIN_LENGTH = 8
"""Characters. A shorter secret is not recognized in texts, because it would match by chance."""

MIN_LINE_LENGTH = 12
"""Characters of a line of a secret. Shorter lines, such as `version: 1` in a file of keys, are often common words."""

PIECE_LENGTH = 4096
"""A longer secret is recognized by pieces of this length, too. A text can hold a part of it, and expressions stay
small."""

MAX_PIECES = 16
"""Pieces of one secret. What follows them is recognized only where the whole secret stands unchanged."""

ESCAPE_MARKS = ("\\", "%", "+", "&", "'\"", "'\n", '"\n', "\n  ")
"""One of these is in every text that has a secret in an escaped form."""

_NEVER_ESCAPED = frozenset(string.ascii_letters + string.digits + "_.-~")
_NAMED = {"\n": "n", "\t": "t", "\r": "r", "\b": "b", "\f": "f", "\a": "a", "\v": "v", "\0": "0", "\x1b": "[eE]"}
_ENTITIES = {"&": "amp", "<": "lt", ">": "gt"}
_QUOTING = "\\'\""
_FRAME_OF_A_KEY = re.compile(r"-----.*-----")

# After a space, `pprint` breaks a long text into two literals; a line can be indented, as in an exception group.
_CONTINUED = r"(?:['\"]\s{1,256}b?['\"]|[ \t]{1,64}(?:\| ?)?)?"

_IN_BASE64 = re.compile(r"(?:[A-Za-z0-9+/=_-]|\\/|%2[BbFf]|%3[Dd])+")
_ENCODED_BYTES = 1024
_UNTIL_CUT = 64
"""Characters of base64 that are searched for, of this beginning of a secret; the whole run around them is masked."""

_MIN_SEGMENT = 10


@dataclass(frozen=True)
class SecretForms:
    """The forms of one secret.

    Attributes:
        text: searched for as it is.
        runs: parts of its base64. The run of base64 around one of them is masked.
    """

    text: str
    runs: tuple[str, ...] = ()

    @cached_property
    def pattern(self) -> re.Pattern[str] | None:
        """The secret with each character in any of its escaped forms, nested up to four times. None if no character
        is ever escaped. It is compiled when it is first needed, as few texts have escapes."""
        if _NEVER_ESCAPED.issuperset(self.text) or len(self.text) > PIECE_LENGTH:
            return None
        return re.compile("".join(_escaped(self.text)))


def forms_of(secret: str) -> Iterator[SecretForms]:
    """The forms of a secret, of its lines and of its pieces. None for a secret that is too short.

    Args:
        secret: bytes that are no UTF-8 are lone surrogates in it, as with `surrogateescape`.
    """
    text = secret.strip(" \t\r\n")
    if len(text) < MIN_LENGTH:
        return
    yield SecretForms(text, tuple(dict.fromkeys(_runs(_encoded(text)[:_ENCODED_BYTES]))))
    lines = [line.strip() for line in text.splitlines()]
    if len(lines) > 1:
        yield from (SecretForms(line) for line in lines if _is_telling(line))
    if len(text) > PIECE_LENGTH:
        starts = range(0, min(len(text), PIECE_LENGTH * MAX_PIECES), PIECE_LENGTH)
        pieces = (text[start : start + PIECE_LENGTH].strip() for start in starts)
        yield from (SecretForms(piece) for piece in pieces if len(piece) >= MIN_LENGTH)


def mask_runs(text: str, runs: tuple[str, ...], mask: str) -> str:
    """Mask each run of base64 that has one of these parts in it."""
    if not any(run in text for run in runs):
        return text
    return _IN_BASE64.sub(lambda found: mask if any(run in found[0] for run in runs) else found[0], text)


def _is_telling(line: str) -> bool:
    return len(line) >= MIN_LINE_LENGTH and _FRAME_OF_A_KEY.fullmatch(line) is None


def _runs(secret: bytes) -> Iterator[str]:
    """Parts of the base64 of a secret that follows any text, such as a user's name and a colon.

    A part without "+" and "/" is the same in both alphabets and in a URL, so that is chosen if it is long enough.
    """
    for before, start in ((0, 0), (1, 2), (2, 3)):  # characters that have bits of what stands before it
        encoded = base64.b64encode(b"\0" * before + secret).decode()
        core = encoded[start : 8 * (before + len(secret)) // 6]
        segment = max(re.split(r"[+/]", core), key=len)[:_UNTIL_CUT]
        if len(segment) >= _MIN_SEGMENT:
            yield segment
        else:
            core = core[:_UNTIL_CUT]
            yield from (core, core.translate(str.maketrans("+/", "-_")), core.replace("/", "\\/"))


def _escaped(text: str) -> Iterator[str]:
    """The parts of an expression for a text in any escaped form."""
    for found in re.finditer(r"[\\'\"]+|[A-Za-z0-9_.~-]+|.", text, re.DOTALL):
        part = found[0]
        if found.start() and text[found.start() - 1].isspace():
            yield _CONTINUED
        if part[0] in _NEVER_ESCAPED:
            yield re.escape(part)
        elif part[0] in _QUOTING:
            # Quoted again, they become more of them, in a shell of each other. Which ones they are does not matter.
            forms = "|".join([r"[\\'\"]", *(_coded(character) for character in dict.fromkeys(part))])
            yield f"(?:{forms}){{{len(part)},{64 * len(part)}}}"
        else:
            yield _character(part)


def _character(character: str) -> str:
    forms = [_coded(character)]
    if character in _NAMED:
        forms.append(rf"\\{{1,16}}{_NAMED[character]}")
    if character in _ENTITIES:
        forms.append(rf"&(?:amp;){{0,4}}{_ENTITIES[character]};")
    if character == " ":
        forms.append(r"\+")
    if character == "\n":
        forms.append(r"\r\n")
    forms.append(rf"\\{{0,16}}{re.escape(character)}")
    return f"(?:{'|'.join(forms)})"


def _encoded(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def _coded(character: str) -> str:
    """A character by its number: in Python, JSON, a URL or HTML."""
    code, data = ord(character), _encoded(character)
    pair = character.encode("utf-16-be", "surrogatepass").hex()
    forms = [
        "".join(rf"\\{{1,16}}u{pair[at : at + 4]}" for at in range(0, len(pair), 4)),
        "".join(f"%(?:25){{0,4}}{byte:02x}" for byte in data),
        rf"&(?:amp;){{0,4}}#(?:0*{code}|x0*{code:x});",
        *(["&(?:amp;){0,4}quot;"] if character == '"' else []),
    ]
    if code > 0xFFFF:
        forms.append(rf"\\{{1,16}}U{code:08x}")
    if code > 0x7F:  # before its number: that of "\u00c3" is the first byte of it, too
        forms.append("".join(rf"\\{{1,16}}x{byte:02x}" for byte in data))
        forms += [re.escape(chr(data[0]))] if len(data) == 1 else []  # a byte, read as Latin-1
    if code <= 0xFF:
        forms.append(rf"\\{{1,16}}x{code:02x}|%(?:25){{0,4}}{code:02x}")
    return f"(?i:{'|'.join(forms)})"
