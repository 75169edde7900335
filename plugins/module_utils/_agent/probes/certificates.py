# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When certificates end."""

from __future__ import annotations

import datetime as dt
import functools


@functools.lru_cache(maxsize=1024)
def expiry(certificate: bytes) -> float:
    """Seconds since the epoch at which a certificate (DER) ends; 0 where it cannot be told.

    Kept: the same certificate is seen in every handshake.
    """
    from cryptography import x509  # pylint: disable=import-outside-toplevel  # megabytes that only TLS needs

    try:
        parsed = x509.load_der_x509_certificate(certificate)
    except (ValueError, x509.InvalidVersion):
        return 0.0
    # The hosts' floor, 38, has no other name than the one that later releases warn of.
    if hasattr(parsed, "not_valid_after_utc"):
        return parsed.not_valid_after_utc.timestamp()
    return parsed.not_valid_after.replace(tzinfo=dt.UTC).timestamp()
