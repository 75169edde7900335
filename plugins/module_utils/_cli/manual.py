# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The man page and bash's completion of katran, made of the parsers of its subcommands (scripts/manual)."""

from __future__ import annotations

import argparse
import typing as t
from collections.abc import Iterator, Sequence

from .command import Command
from .main import COMMANDS, load

MAN_PAGE, COMPLETION = "katran.1", "katran.bash"
"""Their names in the library."""

_SPDX = "SPDX-License-Identifier: GPL-3.0-or-later"
_MADE = "Made by scripts/manual of the parsers in plugins/module_utils/_cli."
_DESCRIPTION = """\
katran looks at this host: at its balancers, of which there may be several (instances), and at what it serves as a real.
It asks the kernel, and reads what the last run and the agent left. It needs neither Ansible nor a network, nor the
agent. Only drain and undrain change anything. It takes root, or the capabilities CAP_BPF, CAP_NET_ADMIN and
CAP_PERFMON.
.PP
While another run changes a balancer, a look waits a moment and then goes on beside it, and says so: what is shown may
be half of a change. Where the record of the last run is damaged, what the kernel has is shown.
.PP
Tables are coloured on a terminal only, and never with NO_COLOR in the environment. With
.B \\-\\-json
there is one document for programs; names in it stay, and more may come."""
EXIT = (
    ("0", "All is well."),
    ("1", "Something is not well, or changed by somebody else: it is shown."),
    ("2", "It cannot be told, or not wholly; a sentence says why. Also wrong arguments."),
    ("130", "Interrupted."),
)
FILES = (
    ("/var/lib/katran-fleet/INSTANCE/state.json", "What the last run left."),
    ("/run/katran-fleet/INSTANCE/", "What the agent knows: checks.json and ready.json."),
    ("/sys/fs/bpf/katran/INSTANCE/", "The pinned programs and maps."),
)
_EXAMPLES = (
    ("katran status", "Is this host well?"),
    ("katran vips :443", "The VIPs of port 443 with their reals."),
    ("katran reals 10.0.0.11", "Which VIPs have this real, and what it gets."),
    ("katran flows --client 192.0.2.7", "Which reals a client's connections go to."),
    ("katran top", "What goes through at this moment."),
    ("katran drain --wait 60", "Send traffic elsewhere, and see it leave."),
)
_OF_NAMES = {"--instance": "instances", "--vip": "vips", "--real": "reals", "--client": ""}
"""Option → the kind of names that complete its value."""


class _Recorder(argparse.ArgumentParser):
    """Keeps what a subcommand adds to it."""

    def __init__(self, command: Command) -> None:
        super().__init__(prog=f"katran {command.name}", description=command.help, epilog=command.epilog)
        self.actions: list[argparse.Action] = []
        command.arguments(self)

    def add_argument(self, *flags: t.Any, **options: t.Any) -> argparse.Action:
        """As a parser does it."""
        added = super().add_argument(*flags, **options)
        # A parser adds --help to itself before it has its list.
        if added.dest != "help" and added.help != argparse.SUPPRESS:
            self.actions.append(added)
        return added


def parsers() -> dict[str, _Recorder]:
    """Subcommand → its parser."""
    return {name: _Recorder(load(name)) for name in COMMANDS}


def value_of(action: argparse.Action) -> str:
    """What stands for the value of an option; "" where it has none."""
    if action.nargs == 0:
        return ""
    if action.choices:
        return "{" + ",".join(map(str, action.choices)) + "}"
    metavar = action.metavar if isinstance(action.metavar, str) else None
    return metavar or action.dest.upper()


def _roff(text: str) -> str:
    """A text as troff takes it."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("%%", "%")
    return f"\\&{text}" if text[:1] in (".", "'") else text


def usage(name: str, parser: _Recorder) -> str:
    words = [f"katran {name}"]
    for action in parser.actions:
        if action.option_strings:
            word = " ".join(filter(None, (action.option_strings[-1], value_of(action))))
            words.append(word if action.required else f"[{word}]")
        else:
            words.append(f"[{value_of(action)}]" if action.nargs in ("?", "*") else value_of(action))
    return " ".join(words)


def man_page() -> str:
    """katran(1)."""
    lines = [f'.\\" {_SPDX}', f'.\\" {_MADE}', '.TH KATRAN 1 "" "katran.fleet" "Load balancers"', ".SH NAME"]
    lines += ["katran \\- look at this host's load balancers", ".SH SYNOPSIS", ".B katran", ".I COMMAND"]
    lines += ["[options]", ".SH DESCRIPTION", _DESCRIPTION, ".SH COMMANDS"]
    for name, parser in parsers().items():
        lines += [f".SS {_roff(usage(name, parser))}", _roff(parser.description or "")]
        for action in parser.actions:
            words = [*action.option_strings] or [value_of(action)]
            value = f" {value_of(action)}" if action.option_strings and value_of(action) else ""
            lines += [".TP", f".B {_roff(', '.join(words) + value)}", _roff(action.help or "")]
        if parser.epilog:
            lines += [".PP", _roff(parser.epilog)]
    for title, entries in (("EXIT STATUS", EXIT), ("FILES", FILES), ("EXAMPLES", _EXAMPLES)):
        lines.append(f".SH {title}")
        for word, sentence in entries:
            lines += [".TP", f".B {_roff(word)}", _roff(sentence)]
    lines += [
        ".SH SEE ALSO",
        ".BR bpftool (8),",
        ".BR journalctl (1);",
        "docs/katran.md of the collection katran.fleet",
    ]
    return "\n".join(lines) + "\n"


_HEAD = f"""\
# bash completion of katran                                                                   -*- shell-script -*-
# {_SPDX}
# {_MADE}
"""
_BODY = """
_katran() {
    # Words as they are typed: bash takes a name such as 198.51.100.1:443/tcp for several.
    local line=${COMP_LINE:0:COMP_POINT} words=() cur prev command='' word
    read -ra words <<<"$line"
    [[ $line == *[[:space:]] ]] && words+=('')
    cur=${words[-1]} prev=${words[-2]}
    for word in "${words[@]:1:${#words[@]}-2}"; do
        [[ $word == -* ]] || { command=$word; break; }
    done
    COMPREPLY=()
    case $command:$prev in
VALUES
    esac
    if [[ $cur == -* ]]; then
        case $command in
OPTIONS
        esac
    else
        case $command in
WORDS
        esac
    fi
}

_katran_reply() {
    mapfile -t COMPREPLY < <(compgen -W "$1" -- "$cur")
    # What comes before the last colon is there already.
    if [[ $cur == *:* && $COMP_WORDBREAKS == *:* ]]; then
        local there=${cur%"${cur##*:}"}
        COMPREPLY=("${COMPREPLY[@]#"$there"}")
    fi
}

_katran_names() {
    _katran_reply "$(katran names "$@" 2>/dev/null)"
}

complete -F _katran katran
"""


def completion() -> str:
    """The script that bash sources."""
    found = parsers()
    indent = " " * 12
    options = [f'{indent}{name}) _katran_reply "{" ".join(_flags(parser))}" ;;' for name, parser in found.items()]
    words = [f'{indent}"") _katran_reply "{" ".join(COMMANDS)}" ;;']
    for name, parser in found.items():
        words += [f"{indent}{name}) {_complete(action)} ;;" for action in parser.actions if _is_completed(action)]
    body = _BODY.replace("VALUES", "\n".join(_values(found)))
    return _HEAD + body.replace("OPTIONS", "\n".join(options)).replace("WORDS", "\n".join(words))


def _flags(parser: _Recorder) -> list[str]:
    return [word for action in parser.actions for word in action.option_strings] + ["--help"]


def _is_completed(action: argparse.Action) -> bool:
    return not action.option_strings and bool(action.choices or "VIP" in value_of(action))


def _complete(action: argparse.Action) -> str:
    """What makes completions of one argument."""
    if action.choices:
        return f'_katran_reply "{" ".join(map(str, action.choices))}"'
    return "_katran_names vips reals" if "REAL" in value_of(action) else "_katran_names vips"


def _values(found: dict[str, _Recorder]) -> Iterator[str]:
    """How the values of options are completed: by names, by files, or not at all."""
    for name, parser in found.items():
        for action in parser.actions:
            if action.option_strings and action.nargs != 0:
                patterns = "|".join(f"{name}:{word}" for word in action.option_strings)
                yield f"        {patterns}) {_value_completed(action.option_strings, action)}return ;;"


def _value_completed(words: Sequence[str], action: argparse.Action) -> str:
    kinds = next((_OF_NAMES[word] for word in words if word in _OF_NAMES), "")
    if kinds:
        return f"_katran_names {kinds}; "
    if action.choices:
        return f'_katran_reply "{" ".join(map(str, action.choices))}"; '
    return 'mapfile -t COMPREPLY < <(compgen -f -- "$cur"); ' if "FILE" in value_of(action) else ""
