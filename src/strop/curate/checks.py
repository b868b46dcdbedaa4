"""Check digits: what tells an account, a card or a tax number from any other run of digits."""

from __future__ import annotations

from collections import Counter

_PENSION_WEIGHTS = (2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1)


def luhn(number: str) -> bool:
    """Say whether a number's last digit is its Luhn check digit (ISO/IEC 7812-1, annex B)."""
    total = 0
    for i, c in enumerate(reversed(number)):
        d = int(c) * (2 if i % 2 else 1)
        total += d - 9 if d > 9 else d
    return total % 10 == 0


def iban(text: str) -> bool:
    """Say whether a text without blanks is an IBAN: 15 to 34 characters, remainder 1 by 97 (ISO 13616)."""
    if not 15 <= len(text) <= 34:
        return False
    return int("".join(str(int(c, 36)) for c in text[4:] + text[:4])) % 97 == 1


def steuer_id(number: str) -> bool:
    """Say whether 11 digits are a German tax id (Steuer-Identifikationsnummer, § 139b AO).

    Of the first ten digits exactly one appears twice or three times; the last is a check digit by
    ISO 7064, MOD 11,10.
    """
    if len(number) != 11 or number[0] == "0":
        return False
    repeated = [n for n in Counter(number[:10]).values() if n > 1]
    return len(repeated) == 1 and repeated[0] <= 3 and _mod_11_10(number)


def ust_id(number: str) -> bool:
    """Say whether the nine digits after DE are a German VAT id (ISO 7064, MOD 11,10)."""
    return len(number) == 9 and number[0] != "0" and _mod_11_10(number)


def pension_number(text: str) -> bool:
    """Say whether 12 characters without blanks are a German social-security number (§ 147 SGB VI).

    Two digits of the area, six of the birth date, a letter, two digits, a check digit.
    """
    letter = f"{ord(text[8].upper()) - 64:02d}"
    values = [int(c) for c in text[:8] + letter + text[9:11]]
    total = sum(sum(divmod(v * w, 10)) for v, w in zip(values, _PENSION_WEIGHTS, strict=True))
    return total % 10 == int(text[11])


def us_ssn(number: str) -> bool:
    """Say whether nine digits can be a US social-security number: no group is all zeros, no 666 or 9xx."""
    area, group, serial = number[:3], number[3:5], number[5:]
    return area not in ("000", "666") and area[0] != "9" and group != "00" and serial != "0000"


def gs1(number: str) -> bool:
    """Say whether the last digit is a GS1 check digit, as of EAN, GTIN and SSCC numbers."""
    total = sum(int(c) * (3 if i % 2 else 1) for i, c in enumerate(reversed(number)))
    return total % 10 == 0


def s10(number: str) -> bool:
    """Say whether the ninth digit of a postal number is right (UPU S10: weights 8 6 4 2 3 5 9 7)."""
    total = sum(int(c) * w for c, w in zip(number[:8], (8, 6, 4, 2, 3, 5, 9, 7), strict=True))
    check = 11 - total % 11
    return {10: 0, 11: 5}.get(check, check) == int(number[8])


def _mod_11_10(number: str) -> bool:
    product = 10
    for c in number[:-1]:
        product = 2 * ((int(c) + product) % 10 or 10) % 11
    return (11 - product) % 10 == int(number[-1])
