"""What a value may be: the bounds of the wire, which files of events keep as well."""

from __future__ import annotations

import re
from typing import Final

ID_CHARACTERS: Final = r"A-Za-z0-9._:@/+=\-"
"""Characters of ids, as they stand between the brackets of a regular expression."""

ID_WORDS: Final = "A-Z a-z 0-9 . _ : @ / + = -"
"""The same, for people."""

MAX_ID_LENGTH: Final = 128
MAX_EVENT_ID_LENGTH: Final = 160
MAX_AMOUNT_MINOR: Final = 10**12
MAX_QUANTITY: Final = 10**6
EARLIEST_MS: Final = 946_684_800_000  # 2000-01-01
LATEST_MS: Final = 4_102_444_800_000  # 2100-01-01

CARD_SEPARATORS: Final = "-.:/_+=@"
"""Characters of ids that may stand between the digits of a card number."""

CARD_DIGITS: Final = range(12, 20)
"""How many digits a card number has."""

_SEPARATORS: Final = str.maketrans("", "", CARD_SEPARATORS)
_DIGITS: Final = re.compile(r"[0-9]+")


def looks_like_card(text: str) -> bool:
    """Tell whether a string passes for a card number: 12 to 19 digits, separators aside, with a valid check digit."""
    digits = text.translate(_SEPARATORS)
    if len(digits) not in CARD_DIGITS or not _DIGITS.fullmatch(digits):
        return False
    odd = digits[-1::-2]
    even = digits[-2::-2]
    return (sum(map(int, odd)) + sum(sum(divmod(2 * int(digit), 10)) for digit in even)) % 10 == 0
