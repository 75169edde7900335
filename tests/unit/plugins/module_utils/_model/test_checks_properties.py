# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Any check that is valid is kept as what it was, and any that is not ends in a sentence."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._model.check_values import (
    CHECK_OPTIONS,
    MEANT,
    METHODS,
    RECORDS,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.checks import (
    CHECK_TYPES,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ConfigError
from ansible_collections.katran.fleet.plugins.module_utils._model.resources import config_faults
from ansible_collections.katran.fleet.plugins.module_utils._model.vips import (
    vip_to_config,
    vips_from_config,
)
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils._model.check_configs import (
    UDP,
    VIP,
    faults,
    only,
)
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils._model.configs import ALL

# Whatever is valid, is kept


CODES = st.lists(
    st.one_of(st.integers(100, 599), st.tuples(st.integers(100, 349), st.integers(350, 599))), min_size=1, max_size=5
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
NAMES = st.from_regex(
    r"[a-z0-9_]([a-z0-9_-]{0,8}[a-z0-9_])?(\.[a-z]([a-z0-9-]{0,8}[a-z])?){0,3}", fullmatch=True
).filter(lambda name: not name.rpartition(".")[2].isdecimal())
SECONDS = {"interval": (0.1, 3600), "timeout": (0.01, 60), "slow_start": (0, 3600)}
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "port": st.integers(1, 65535),
    "host": NAMES,
    "path": st.from_regex(r"/[!$-~]{0,40}", fullmatch=True),
    "method": st.sampled_from(METHODS),
    "headers": st.dictionaries(
        st.from_regex(r"X-[A-Z]{1,3}", fullmatch=True),
        st.from_regex(r"([!-~]([ -~]*[!-~])?)?", fullmatch=True),
        max_size=3,
    ),
    "status": CODES.map(
        lambda codes: [str(code) if isinstance(code, int) else f"{code[0]}-{code[1]}" for code in codes]
    ),
    "body": TEXTS,
    "verify": st.booleans(),
    "payload": TEXTS,
    "expect": st.binary(max_size=20).map(lambda octets: f"hex:{octets.hex()}"),
    "query": NAMES,
    "record": st.sampled_from(RECORDS),
    **{name: st.floats(*bounds) for name, bounds in SECONDS.items()},
    **{name: st.integers(1, 100) for name in ("fall", "rise", "min_healthy")},
    "on_down": st.sampled_from(("purge", "keep")),
}


@st.composite
def checks(draw: st.DrawFn) -> dict[str, Any]:
    """Valid checks of a VIP of UDP, as an operator may write them."""
    kind = draw(st.sampled_from(CHECK_TYPES))
    chosen = draw(st.sets(st.sampled_from(sorted(MEANT[kind] & set(VALUES)))))
    if kind == "dns":
        chosen.add("query")
    found = {"type": kind, **{name: draw(VALUES[name]) for name in sorted(chosen)}}
    if found.get("verify"):
        found.setdefault("host", "www.example.net")
    if found.get("method") == "HEAD":
        found.pop("body", None)
    return found


@given(checks(), checks())
def test_the_form_that_is_kept_is_read_as_what_it_was(check: dict[str, Any], other: dict[str, Any]) -> None:
    assert faults(check, UDP) == ""
    found = only({**UDP, "check": check})
    own = json.loads(json.dumps(vip_to_config(found)))
    kept = next(iter(vips_from_config([own]).values()))
    assert kept == found
    assert only(own) == found
    assert vip_to_config(only(own)) == own
    # Under any defaults a valid check is a valid one, which is kept as well.
    under = {name: value for name, value in other.items() if name != "type"}
    assert faults(check, UDP, under) in ("", "check.body: an answer to HEAD has no body") or "verify" in under
    assert faults(check, UDP, None) == ""


@given(
    st.dictionaries(
        st.sampled_from(sorted(CHECK_OPTIONS)),
        st.from_type(object)
        | st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.floats()
            | st.text(max_size=8)
            | st.sampled_from(CHECK_TYPES),
            lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
            max_leaves=4,
        ),
        max_size=5,
    ),
    st.booleans(),
)
def test_whatever_is_written_ends_in_a_sentence_or_a_check(check: dict[str, Any], as_module: bool) -> None:
    entry = {**VIP, "check": check}
    if not as_module:
        assert isinstance(config_faults({"vips": [entry]}, ALL, check_defaults=check), list)
        return
    found = None
    with contextlib.suppress(ConfigError):
        found = only(entry)
    if found is not None:
        assert only(vip_to_config(found)) == found
