"""What can be wrong with a script, by code. The index of `docs/scripts.md` is this table.

Codes are stable: a code is never given another meaning.
"""

from __future__ import annotations

from collections.abc import Mapping

CODES: Mapping[str, str] = {
    "E001": "There is no such directive.",
    "E002": "A directive stands where it cannot.",
    "E003": "A block is never closed; the place is that of its opening line.",
    "E004": "A directive or hole cannot be read from here on.",
    "E005": "A hole is never closed.",
    "E006": "The script does not begin with `@program`.",
    "E007": "The file is not text in UTF-8.",
    "E008": "A text in double quotes is wrong.",
    "E009": "A number is too large.",
    "E010": "There is no such name here.",
    "E011": "A name is given twice.",
    "E012": "There is no such type.",
    "E013": "A name is reserved.",
    "E014": "An operation does not take a value of this type.",
    "E015": "A value has no such field or item.",
    "E016": "There is no such function, or it takes other arguments.",
    "E017": "A comparison always has the same answer.",
    "E018": "A type contains itself.",
    "E019": "A type cannot be enforced.",
    "E020": "The model is asked to speak where it is not its turn.",
    "E021": "Text stands where no role is open, since a block changes roles.",
    "E022": "Text follows several samples.",
    "E030": "There is no such option.",
    "E031": "An option has a value that cannot work.",
    "E032": "An option is given twice.",
    "E040": "A default is not of the input's type.",
    "E041": "An input without a default follows one with a default.",
    "E042": "The result that `@program` promises is never made.",
    "E043": "The result is not of the type that `@program` promises.",
    "E044": "`@return` stands where it cannot.",
    "E050": "A loop over what the model wrote has no `max`.",
    "E060": "The file is too large.",
    "E061": "Something is nested too deeply.",
    "E062": "The script has too many parts.",
    "E063": "A loop or fork is too wide.",
    "E064": "A run could generate too many tokens.",
    "W001": "An input or type is never used.",
    "W002": "A value that may be missing is written into the text.",
    "W003": "Text stands outside of roles, though the script has roles.",
}
