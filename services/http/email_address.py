"""E-mail addresses: which are accepted, and which are the same. Pure."""

from __future__ import annotations

import unicodedata

import email_validator

from services.http.text import plain_line

MAX_ADDRESS = 254
_VARIATION_SELECTORS = frozenset(map(chr, (*range(0x180B, 0x1810), *range(0xFE00, 0xFE10))))
_REASON = "must be an e-mail address"

# Schools also use addresses below names such as `school.test` and `intra.local`, which the list refuses.
email_validator.SPECIAL_USE_DOMAIN_NAMES.clear()


def shown_address(text: str) -> str:
    """The address as it is stored and shown: as it was given, with full-width forms as plain ones (NFKC).

    Raises ValueError if it isn't LOCAL@DOMAIN by the rules of RFC 6531 and IDNA 2008, or if it has invisible
    characters.
    """
    address = unicodedata.normalize("NFKC", plain_line(text.strip()))
    _parts(address)
    return address


def canonical_address(text: str) -> str:
    """The form in which an address is unique, which is its own canonical form.

    Upper and lower case, full-width and plain forms, and a domain's letters and its ASCII form (IDNA 2008
    with the mapping of UTS 46) are the same. Raises ValueError as `shown_address`.
    """
    local, domain = _parts(shown_address(text))
    folded = unicodedata.normalize("NFKC", local.casefold())
    while folded != (again := unicodedata.normalize("NFKC", folded.casefold())):
        folded = again
    return f"{folded}@{domain}"


def _parts(address: str) -> tuple[str, str]:
    """The local part and the domain in ASCII. Raises ValueError."""
    if len(address) > MAX_ADDRESS or not _VARIATION_SELECTORS.isdisjoint(plain_line(address)):
        raise ValueError(_REASON)
    try:
        # strict: at most 64 characters before the @. The others: names that not every host can look up.
        found = email_validator.validate_email(
            address, strict=True, check_deliverability=False, globally_deliverable=False
        )
    except email_validator.EmailNotValidError:
        # The library's reason quotes the address.
        raise ValueError(_REASON) from None
    return found.local_part, str(found.ascii_domain)
