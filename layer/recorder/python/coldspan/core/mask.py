"""Secrets taken out of text: by what they look like, and by the name of the key they stand under."""

import re

from coldspan.core import limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from re import Match, Pattern

MARK = "***"

# Key names whose value is never shown, compared in lower case without separators: anywhere in the name ...
SECRET_PARTS = (
    "password", "passwd", "passphrase", "passcode", "secret", "token", "apikey", "accesskey", "privatekey",
    "signingkey", "encryptionkey",
    "masterkey", "sharedkey", "accountkey", "authorization", "credential", "cookie", "signature",
    "sessionid", "sessionkey", "connectionstring", "cardnumber", "creditcard", "securitycode", "socialsecurity",
)  # fmt: skip
# ... or the whole name, where a part of a longer word would hit too often ("ssn" is in "className").
SECRET_NAMES = frozenset((
    "pass", "pwd", "pin", "auth", "sig", "ssn", "cvv", "cvc", "cvv2", "cvc2", "pan", "otp", "jwt", "sid", "csrf",
    "xsrf", "bearer", "plaintext", "dbpwd", "userpwd", "authcode", "iban",
))  # fmt: skip

# A cut may go through a secret: what lies this near to it is not shown. A card has 37 characters, an e-mail 64 and @.
_TAIL = 96
_ROUNDS = 4  # masking one thing can uncover the next; more rounds than this were never needed

_NAMES = (
    r"pass(?:word|wd|phrase|code)|(?<![0-9]:)secret(?:[_-]?(?:access[_-]?)?key|[_-]?string|[_-]?value)?|token|api[_-]?key"
    r"|(?:access|private|account|encryption|master|signing|shared|session)[_-]?key(?:[_-]?id)?|authorization|credentials?"
    r"|signature|session[_-]?id|connection[_-]?string|cookie|card[_-]?number|(?<![a-z])(?:pwd|sig|ssn|cv[vc]2?|otp)"
)
_VALUE = (
    r"(?:((\\++)([\"'])).*?(?=(?<!\\)\3\4|\Z)|([bru]?\")(?:[^\"\\]|\\.)*+|([bru]?')(?:[^'\\]|\\.)*+"
    r"|\{(?:[^{}]|\{[^{}]*+\}?)*+\}?|\[[^\]]*+\]?"
    r"|(?!(?:%s)\\*[\"']?\s*[:=])(?:(?:bearer|basic|digest|token|negotiate|aws4-hmac-sha256)\s+)?[^\s\"',;&]+(?:,[^\s\"',;&]+)*+)"
)
_WORDS = (
    "pass", "secret", "token", "key", "auth", "cred", "signature", "session", "conn", "cookie", "card", "pwd", "sig",
    "ssn", "cv", "otp",
)  # fmt: skip
_PREFIXES = (
    "eyJ", "AKIA", "ASIA", "IQoJ", "FwoG", "FQoG", "gh", "github_pat_", "xox", "k_live_", "k_test_", "whsec_", "sk-",
    "AIza", "ya29.", "PRIVATE KEY",
)  # fmt: skip

# Each is linear in the text: what follows a repetition can never be in it, or the repetition is bounded or possessive.
_SOURCES = {
    "userinfo": r"://(?:[^\s/?#\"'<>]*@|[^\s/@:]{0,64}:(?![0-9]+[/?#])(?:(?!://)[^\s@\"'<>]){0,256}@)",
    "pair": r"(?is)((?:%s)\\*[\"']?\s*(?:=>|[:=])[\s(]*)" + _VALUE,
    "element": r"(?i)(<[\w:.-]{0,64}(?:%s)[\w:.-]{0,32}(?:\s[^<>]{0,512})?>(?:<!\[CDATA\[)?)[^<]+",
    "cookie": r"(?i)(cookie[\"']?\s*[:=]\s*[\"']?)[^\s;\"']+(?:;\s*[^\s;\"']+)*+",
    "scheme": r"(?i)\b(bearer|basic)\s+(?:(?=[a-z]*(?-i:[A-Z0-9=._/+-]))[\w.~+/=-]{6,}|[\w.~+/=-]{20,})",
    "token": (
        r"eyJ[\w.+/=-]{10,}|A[KS]IA[A-Z0-9]{12,}|(?:IQoJ|FwoG|FQoG)[\w+/=%%-]{40,}|gh[pousr]_\w{16,}|github_pat_\w{16,}"
        r"|xox[a-z]-[\w-]{8,}|[rsp]k_(?:live|test)_\w{8,}|whsec_[\w+/=]{8,}|sk-[\w-]{16,}|AIza[\w-]{30,}|ya29\.[\w-]{8,}"
        r"|-----BEGIN[ A-Z]{0,40}PRIVATE KEY-----.*?(?:-----END[ A-Z]{0,40}-----|\Z)"
    ),
    "key": r"(?<![A-Za-z0-9/+])[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+])",
    "email": r"(?<![\w.%%+-])[\w.%%+-]++@[\w-]+(?:\.[\w-]+)*\.[^\W\d_][\w-]+",
    "digits": r"(?<![0-9])[0-9]{3,}(?:[\s.\u2010-\u2015-][0-9]{3,})*",
}
_compiled: "dict[tuple[str, tuple[str, ...]], Pattern[str]]" = {}


def mask_text(text: str, limit: int = limits.MESSAGE_CHARS) -> str:
    """Make text fit to leave: one line, no control characters, no secrets, at most `limit` characters.

    Idempotent. What cannot be printed becomes a space; what is not a str gives "".
    """
    if not issubclass(type(text), str):
        return ""
    window = max(4 * limit, limits.RAW_TEXT_CHARS)
    text = str.__getitem__(text, slice(0, window))  # an exact str: a subclass has methods of its own
    cut = len(text) == window  # also what the hot path has cut to RAW_TEXT_CHARS
    if not text.isprintable():
        text = "".join([char if char.isprintable() else " " for char in text])
    text = mask_values(text)
    if cut:
        text = text[:-_TAIL]
    for _ in range(_ROUNDS):
        shorter = text[:limit]
        text = mask_values(shorter)  # a cut can make a card number out of a longer one
        if text == shorter:
            break
    return text[:limit]


def mask_values(text: str, keys: "tuple[str, ...]" = ()) -> str:
    """Replace in a str what looks like a secret; line breaks stay. `keys` are further key names, see `normal_key`."""
    for _ in range(_ROUNDS):
        masked = _mask_once(text, keys)
        if masked == text:
            break
        text = masked
    return text


def normal_key(key: str) -> str:
    """A key name as names are compared: lower case, without `_`, `-`, `.` and spaces."""
    return key.lower().replace("_", "").replace("-", "").replace(".", "").replace(" ", "")


def is_secret_key(key: str, keys: "tuple[str, ...]" = ()) -> bool:
    """Whether the value under this key must not be shown. `keys` are further names, already normal."""
    name = normal_key(key)
    if name in SECRET_NAMES or (name.startswith("ssn") or name.endswith("ssn")):
        return True
    for part in SECRET_PARTS:
        if part in name:
            return True
    return any(part in name for part in keys)


def _mask_once(text: str, keys: "tuple[str, ...]") -> str:
    # What has blanks in it comes first: as the value of a key only its first word would go.
    at = "@" in text
    if at and "://" in text:
        text = _pattern("userinfo").sub("://" + MARK + "@", text)
    if any(prefix in text for prefix in _PREFIXES):
        text = _pattern("token").sub(MARK, text)
    if sum(map(text.count, "0123456789")) >= 13:
        text = _pattern("digits").sub(_mask_cards, text)
    low = text.lower()
    if keys or (("=" in text or ":" in text or "</" in text) and any(word in low for word in _WORDS)):
        if "</" in text:
            text = _pattern("element", keys).sub(_keep_name, text)
        text = _pattern("pair", keys).sub(_keep_name_and_quote, text)
        if "cookie" in low:  # its value goes on behind the semicolons
            text = _pattern("cookie").sub(_keep_name, text)
    if "bearer" in low or "basic" in low:
        text = _pattern("scheme").sub(_keep_scheme, text)
    if len(text) >= 40:
        text = _pattern("key").sub(_mask_key, text)
    if at:
        text = _pattern("email").sub(MARK, text)
    return text


def _pattern(name: str, keys: "tuple[str, ...]" = ()) -> "Pattern[str]":
    # Compiled on first use: most environments never see a message that needs it, and it costs 0.3 to 3 ms a pattern.
    known = (name, keys)
    pattern = _compiled.get(known)
    if pattern is None:
        source = _SOURCES[name]
        if "%" in source:
            more = ["[_. -]?".join([re.escape(char) for char in key[:64]]) for key in keys if key]
            names = "|".join([_NAMES, *more])
            source = source % ((names,) * source.count("%s"))
        pattern = _compiled[known] = re.compile(source, re.DOTALL)
    return pattern


def _keep_name(match: "Match[str]") -> str:
    return match.group(1) + MARK


def _keep_name_and_quote(match: "Match[str]") -> str:
    return match.group(1) + (match.group(2) or match.group(5) or match.group(6) or "") + MARK


def _keep_scheme(match: "Match[str]") -> str:
    return match.group(1) + " " + MARK


def _mask_key(match: "Match[str]") -> str:
    """An AWS secret access key is 40 characters of base64; a git commit or a path of that length is none."""
    text = match.group()
    has_digit = any("0" <= char <= "9" for char in text)
    return MARK if has_digit and text != text.lower() and text != text.upper() else text


def _mask_cards(match: "Match[str]") -> str:
    """Take the card numbers out of a run of digit groups: 13 to 19 digits in whole groups, with a valid check digit."""
    text = match.group()
    if len(text) < 13:
        return text
    starts, ends = [0], []
    for index, char in enumerate(text):
        if not "0" <= char <= "9":
            ends.append(index)
            starts.append(index + 1)
    ends.append(len(text))
    out: "list[str]" = []
    done = group = 0
    while group < len(starts):
        number, last = "", -1
        for further in range(group, len(starts)):
            if len(number) + ends[further] - starts[further] > 19:
                break
            number += text[starts[further] : ends[further]]
            if len(number) >= 13 and number[0] > "1" and _is_luhn(number):
                last = further
        if last >= 0:
            out += (text[done : starts[group]], MARK)
            done = ends[last]
            group = last
        group += 1
    out.append(text[done:])
    return "".join(out)


def _is_luhn(number: str) -> bool:
    # Numbers that start with 0 or 1 belong to no card scheme in use: times in epoch ms and ns start with 1.
    total = sum(map(int, number[-1::-2]))
    for digit in number[-2::-2]:
        double = 2 * int(digit)
        total += double - 9 if double > 9 else double
    return total % 10 == 0
