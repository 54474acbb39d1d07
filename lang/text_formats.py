r"""How dates, times, identifiers and addresses are written: regexes that hold only what their types read back.

Only literal characters, ranges, groups and bounded repeats, so that every regex engine gives them the same meaning.
Used by types; a grammar plugin may spell out the formats of a JSON schema with them.
"""

from __future__ import annotations

from typing import Final

_DAY_28 = r"(?:0[1-9]|1[0-9]|2[0-8])"
_DAY_30 = r"(?:0[1-9]|[12][0-9]|30)"
_DAY_31 = r"(?:0[1-9]|[12][0-9]|3[01])"
_YEAR = r"(?:[0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)"
_FOURTH = r"(?:0[48]|[2468][048]|[13579][26])"
_LEAP_YEAR = rf"(?:[0-9]{{2}}{_FOURTH}|{_FOURTH}00)"
_MONTH_AND_DAY = rf"(?:(?:0[13578]|1[02])-{_DAY_31}|(?:0[469]|11)-{_DAY_30}|02-{_DAY_28})"
_HOUR = r"(?:[01][0-9]|2[0-3])"

DATE: Final = rf"(?:{_YEAR}-{_MONTH_AND_DAY}|{_LEAP_YEAR}-02-29)"
NAIVE_TIME: Final = rf"{_HOUR}:[0-5][0-9](?::[0-5][0-9](?:\.[0-9]{{1,6}})?)?"
OFFSET: Final = rf"(?:Z|[+-]{_HOUR}:[0-5][0-9])"
FULL_TIME: Final = rf"{_HOUR}:[0-5][0-9]:[0-5][0-9](?:\.[0-9]{{1,6}})?{OFFSET}"  # of RFC 3339, which JSON Schema means

# ISO 8601 in days, hours, minutes and seconds; years and months have no fixed length
_CLOCK = (
    r"T(?:[0-9]{1,4}H(?:[0-9]{1,4}M)?(?:[0-9]{1,4}(?:\.[0-9]{1,6})?S)?"
    r"|[0-9]{1,4}M(?:[0-9]{1,4}(?:\.[0-9]{1,6})?S)?|[0-9]{1,4}(?:\.[0-9]{1,6})?S)"
)
DURATION: Final = rf"-?P(?:[0-9]{{1,5}}D(?:{_CLOCK})?|{_CLOCK})"

_HEX = "[0-9a-f]"


def uuid(version: int | None = None) -> str:
    """Return the regex of a UUID in lower case, of any version or of one."""
    if version is None:
        return rf"{_HEX}{{8}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{12}}"
    return rf"{_HEX}{{8}}-{_HEX}{{4}}-{version}{_HEX}{{3}}-[89ab]{_HEX}{{3}}-{_HEX}{{12}}"


_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_GROUP = rf"{_HEX}{{1,4}}"
IPV4: Final = rf"{_OCTET}(?:\.{_OCTET}){{3}}"
# eight groups, or fewer around one "::"
IPV6: Final = "|".join(
    [
        rf"(?:{_GROUP}:){{7}}{_GROUP}",
        rf"(?:{_GROUP}:){{1,7}}:",
        *(rf"(?:{_GROUP}:){{1,{before}}}(?::{_GROUP}){{1,{7 - before}}}" for before in range(6, 0, -1)),
        rf":(?::{_GROUP}){{1,7}}",
        "::",
    ]
)

_LABEL = r"[A-Za-z0-9]{1,20}(?:-[A-Za-z0-9]{1,20}){0,2}"
_HOST = rf"(?:{_LABEL}\.){{1,3}}[A-Za-z]{{2,10}}"
# The common form of addresses: no quoted names, no digits for a host, no international characters.
EMAIL: Final = rf"[A-Za-z0-9_]{{1,20}}(?:[.+-][A-Za-z0-9_]{{1,20}}){{0,2}}@{_HOST}"


def url(schemes: tuple[str, ...] = ()) -> str:
    """Return the regex of an absolute URL with a host name, of any scheme or of those given."""
    scheme = f"(?:{'|'.join(schemes)})" if schemes else r"[a-z][a-z0-9]{1,9}"
    path = r"[A-Za-z0-9._~$&'()*+,;=:@/-]{0,200}"
    return (
        rf"{scheme}://{_HOST}(?::[1-9][0-9]{{0,3}})?"
        rf"(?:/{path})?(?:\?[A-Za-z0-9._~$&'()*+,;=:@/?-]{{0,100}})?(?:#[A-Za-z0-9._~-]{{0,50}})?"
    )
