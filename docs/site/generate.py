# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the sources of the site: the pages of docs/, the reference out of the code, and the navigation.

usage: python docs/site/generate.py FOLDER
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
import tomllib
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

from ansible_collections.katran.fleet.plugins.module_utils._cli import manual

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parents[1]
DOCS = PROJECT / "docs"
_ANSIBLE = "https://docs.ansible.com/ansible-core/2.19"
_BUILTIN = "https://docs.ansible.com/ansible/latest/collections/ansible/builtin"
_OF_ANSIBLE = {
    "common_return_values": f"{_ANSIBLE}/reference_appendices/common_return_values.html",
    "callback_plugins": f"{_ANSIBLE}/plugins/callback.html",
    "action_plugins": f"{_ANSIBLE}/plugins/action.html",
}
_REPOSITORY = "https://github.com/katran-fleet/katran.fleet"
_SUFFIXES = {".md", ".png", ".svg", ".gif", ".webp"}
_SPDX = "<!-- SPDX-License-Identifier: GPL-3.0-or-later -->\n"
_KINDS = {"module": "modules", "role": "roles", "filter": "plugins", "lookup": "plugins", "callback": "plugins"}
_VARIABLE = r"\b(?:katran_[a-z_]+|remove_confirmed)\b"


class FaultError(Exception):
    """What somebody has to mend before there is a site."""


def copy_pages(source: Path) -> None:
    """The pages and their pictures."""
    faults: list[str] = []
    for path in sorted(DOCS.rglob("*")):
        if path.is_relative_to(HERE) or path.suffix not in _SUFFIXES:
            continue
        target = source / path.relative_to(DOCS)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".md":
            target.write_text(_with_links(path, faults), encoding="utf-8")
        else:
            shutil.copy2(path, target)
    if faults:
        raise FaultError("\n".join(faults))
    changes = (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8")
    (source / "changelog.md").write_text(_SPDX + re.sub(r"\A# .*", "# Release notes", changes), encoding="utf-8")


def _with_links(page: Path, faults: list[str]) -> str:
    """A page whose links to files of the clone that are not on the site lead to the repository."""

    def link(found: re.Match[str]) -> str:
        path = (page.parent / found[1]).resolve()
        if path.suffix in _SUFFIXES and path.is_relative_to(DOCS):
            if found[2] and path.suffix == ".md" and path.exists() and found[2][1:] not in _anchors(path):
                faults.append(f"{page.relative_to(PROJECT)}: GitHub knows no {found[2]} in {path.relative_to(PROJECT)}")
            return found[0]
        if not path.is_relative_to(PROJECT) or not path.exists():
            # Sphinx says that there is nothing, and where.
            return found[0]
        if path == PROJECT / "CHANGELOG.md":
            return f"]({'../' * len(page.relative_to(DOCS).parents[:-1])}changelog.md{found[2] or ''})"
        kind = "tree" if path.is_dir() else "blob"
        return f"]({_REPOSITORY}/{kind}/main/{path.relative_to(PROJECT)}{found[2] or ''})"

    return re.sub(r"\]\(([^()\s#:]+)(#[^()\s]*)?\)", link, page.read_text(encoding="utf-8"))


@cache
def _anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    text = re.sub(r"^(`{3,}).*?^\1", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    found: set[str] = set()
    for heading in re.findall(r"^#+ +(.*)$", text, re.MULTILINE):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
        name = re.sub(r"[^\w\- ]", "", plain.strip().lower()).replace(" ", "-")
        found.add(name if name not in found else f"{name}-1")
    return found


def write(path: Path, text: str) -> None:
    """A file, its folder made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


# Modules, roles, plugins: antsibull-docs.


def collection(source: Path, work: Path) -> None:
    """The reference of modules, roles and plugins, and a page for each kind that lists them."""
    raw = work / "antsibull"
    shutil.rmtree(raw, ignore_errors=True)
    raw.mkdir(parents=True)
    subprocess.run(
        [
            *("antsibull-docs", "collection", "--use-current", "--squash-hierarchy", "--fail-on-error"),
            *("--no-indexes", "--dest-dir", str(raw), "katran.fleet"),
        ],
        cwd=PROJECT,
        env={**_environment(), "ANSIBLE_COLLECTIONS_PATH": str(PROJECT / "collections")},
        check=True,
    )
    listed: dict[str, list[tuple[str, str, str]]] = {"modules": [], "roles": [], "plugins": []}
    for path in sorted(raw.glob("*.rst")):
        text = path.read_text(encoding="utf-8")
        title = re.search(r"^katran\.fleet\.(\w+) (\w+) -- (.*)$", text, re.MULTILINE)
        if title is None:
            continue
        name, kind, about = title[1], title[2], re.sub(r"\\(.)", r"\1", title[3])
        text = _trimmed(text)
        if kind == "role":
            about = about.rstrip(".")
        write(source / "reference" / path.name, text)
        listed[_KINDS[kind]].append((name if kind in {"module", "role"} else f"{name} ({kind})", path.stem, about))
    for kind, entries in listed.items():
        entries.sort()
        write(source / f"reference/{kind}.md", _list_of(kind, entries))


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}


def _trimmed(text: str) -> str:
    """A page of antsibull's without what is the same on all of them, its links to Ansible's own pages made whole."""
    text = text.replace(":orphan:\n", "", 1)
    text = re.sub(r"\.\. Collection note\n.*?(?=\n\.\. [A-Z]|\n\.\. version_added)", "", text, flags=re.DOTALL)
    text = re.sub(r"\.\. rst-class:: ansible-version-added\n\nNew in katran\.fleet [\d.]+\n", "", text)
    text = re.sub(r"\.\. contents::\n   :local:\n   :depth: \d\n", "", text)

    def reference(found: re.Match[str]) -> str:
        label = found[2]
        if label.startswith("ansible_collections.katran.fleet."):
            return found[0]
        builtin = re.fullmatch(r"ansible_collections\.ansible\.builtin\.(\w+)", label)
        if builtin:
            return f"`{found[1]} <{_BUILTIN}/{builtin[1]}.html>`__"
        if label not in _OF_ANSIBLE:
            raise FaultError(f"docs/site/generate.py: where is Ansible's page {label}?")
        return f"`{found[1]} <{_OF_ANSIBLE[label]}>`__"

    # The name, and below it what it does: a heading, and the first sentence.
    text = re.sub(
        r"^katran\.fleet\.(\w+) (\w+) -- (.*)\n\++$",
        lambda found: f"{_title(found[1], found[2])}\n{'+' * 60}\n\n{found[3]}.",
        text,
        flags=re.MULTILINE,
    )
    text = re.sub(r":ansenvvarref:`([^`]*)`", lambda found: "``" + found[1].replace("\\_", "_") + "``", text)
    text = re.sub(r":envvar:`([^`]*)`", r"``\1``", text)
    text = re.sub(r":ref:`(\w+)`", lambda found: f":ref:`{found[1].replace('_', ' ')} <{found[1]}>`", text)
    return re.sub(r":ref:`([^`<]*?) <([^>]*)>`", reference, text)


def _title(name: str, kind: str) -> str:
    name = name.replace("_", "\\_")
    return f"Role {name}" if kind == "role" else f"katran.fleet.{name}" + ("" if kind == "module" else f" ({kind})")


def _list_of(kind: str, entries: list[tuple[str, str, str]]) -> str:
    about = {
        "modules": "What ends in `_info` changes nothing. Modules that manage something take `config` and a `state`,"
        " check all of it before the first write, and return `before`, `after`, `changes` and `operations`.",
        "roles": "Their variables, which an inventory sets as `katran_…`, with defaults and meaning.",
        "plugins": "Filters and lookups for inventories, some for our own playbooks; a callback that prints"
        " once what is the same on many hosts.",
    }[kind]
    rows = "".join(f"| [{name}]({stem}.rst) | {text.replace('|', chr(92) + '|')} |\n" for name, stem, text in entries)
    return f"{_SPDX}# {kind.capitalize()}\n\n{about}\n\n| name | what it does |\n|---|---|\n{rows}\n" + toctree(
        [f"{name} <{stem}>" for name, stem, _ in entries], hidden=True
    )


# Playbooks: their headers, and the variables that they take.


def playbooks(source: Path) -> None:
    """One page of all playbooks."""
    known: dict[str, dict[str, str]] = tomllib.loads((HERE / "playbooks.toml").read_text(encoding="utf-8"))
    unknown: set[str] = set()
    parts, common = "", dict.fromkeys(known["common"], "")
    for path in sorted((PROJECT / "playbooks").glob("*.yml")):
        text = path.read_text(encoding="utf-8")
        commands, sentences = _header(text)
        rows = ""
        for name, default in sorted(_taken(text).items()):
            if name in common:
                common[name] = common[name] or default
            elif name in known["variables"]:
                rows += f"| `{name}` | {default} | {known['variables'][name]} |\n"
            else:
                unknown.add(f"{path.name}: {name}")
        parts += f"## {path.stem}\n\n{sentences}\n\n```\n{commands}\n```\n\n"
        parts += f"| variable | default | says |\n|---|---|---|\n{rows}\n" if rows else ""
    if unknown:
        raise FaultError(f"docs/site/playbooks.toml: what do these mean? {', '.join(sorted(unknown))}")
    rows = "".join(f"| `{name}` | {default} | {known['common'][name]} |\n" for name, default in common.items())
    text = (
        f"{_SPDX}# Playbooks\n\nEach is `katran.fleet.NAME`. Variables come from the inventory or from `-e`. Those of"
        " roles, by which deploy and upgrade go, are on [the roles' pages](roles.md). Most playbooks take these:\n\n"
        f"| variable | default | says |\n|---|---|---|\n{rows}\n{parts}"
    )
    write(source / "reference/playbooks.md", text)


def _header(text: str) -> tuple[str, str]:
    """The commands and the sentences of the comment at the top of a playbook."""
    comment = []
    for line in text.partition("---\n")[2].splitlines():
        if not line.startswith("#"):
            break
        comment.append(line.removeprefix("#").removeprefix(" "))
    commands = [line for line in comment if line.startswith(("ansible-playbook", "  "))]
    sentences = " ".join(line for line in comment if line not in commands)
    sentences = re.sub(r"\bdocs/([\w-]+\.md)", r"[\1](../\1)", sentences)
    return "\n".join(commands), re.sub(r"(?<![`\w])(katran\.fleet\.\w+|katran_\w+)", r"`\1`", sentences)


def _taken(text: str) -> dict[str, str]:
    """The variables that a playbook takes, each with its default where that is a value."""
    body = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith(("#", "- name:")))
    found = dict.fromkeys(re.findall(r"-e (\w+)=", text), "")
    for name, default in re.findall(rf"({_VARIABLE}) \| default\(([^()]*)", body):
        value = default.partition(",")[0].strip("' ")
        found[name] = found.get(name) or (f"`{value}`" if re.fullmatch(r"[\w./-]+", value) and value != "omit" else "")
    found |= {name: found.get(name, "") for name in re.findall(rf"\{{\{{ ({_VARIABLE}) \}}\}}", body)}
    if "katran.fleet.batches" in body:
        found |= {"katran_serial": '`[1, "25%", "100%"]`', "katran_max_failed": "`0`"}
    return {name: default for name, default in found.items() if re.fullmatch(_VARIABLE, name)}


# The command katran: its parsers.


def command(source: Path) -> None:
    """The page of the command katran, of what makes its man page."""
    text = f"{_SPDX}# The command katran\n\nWhat `man katran` says; [katran](../katran.md) shows what it prints.\n\n"
    for name, parser in manual.parsers().items():
        usage = _wrapped(manual.usage(name, parser))
        text += f"## katran {name}\n\n{_sentence(parser.description)}\n\n```\n{usage}\n```\n\n"
        rows = ""
        for action in parser.actions:
            value = manual.value_of(action)
            words = f"{', '.join(action.option_strings)} {value}".strip() if action.option_strings else value
            rows += f"| `{words.replace('|', chr(92) + '|')}` | {_sentence(action.help)} |\n"
        text += f"| option | does |\n|---|---|\n{rows}\n" if rows else ""
        text += f"{_sentence(parser.epilog)}\n\n" if parser.epilog else ""
    for title, first, second, entries in (
        ("Exit status", "status", "means", manual.EXIT),
        ("Files", "file", "what it is", manual.FILES),
    ):
        rows = "".join(f"| `{word}` | {sentence} |\n" for word, sentence in entries)
        text += f"## {title}\n\n| {first} | {second} |\n|---|---|\n{rows}\n"
    write(source / "reference/katran.md", text)


def _wrapped(usage: str) -> str:
    """A usage in lines of a page's width; an option stays beside its value."""
    kept = re.sub(r"\[[^]]*\]+", lambda found: found[0].replace(" ", "\0"), usage)
    lines = textwrap.wrap(kept, 88, subsequent_indent="    ", break_on_hyphens=False, break_long_words=False)
    return "\n".join(lines).replace("\0", " ")


def _sentence(text: str | None) -> str:
    """A help text as a sentence of Markdown."""
    text = " ".join((text or "").replace("%%", "%").split())
    text = text[:1].upper() + text[1:]
    for plain in "<>*_|":
        text = text.replace(plain, f"\\{plain}")
    return text if text.endswith((".", ":", "?", "")) and text[-1:] in ".:?" else f"{text}."


# Navigation.


def toctree(entries: list[str], *, hidden: bool, caption: str = "") -> str:
    """A table of contents, in MyST."""
    options = "".join(
        f":{name}: {value}\n"
        for name, value in (("hidden", "" if hidden else None), ("caption", caption or None), ("titlesonly", ""))
        if value is not None
    )
    return "```{toctree}\n" + options + "\n" + "\n".join(entries) + "\n```\n"


def navigation(source: Path) -> None:
    """Tables of contents at the end of the pages that have some, by contents.toml."""
    there = {
        str(path.relative_to(source).with_suffix("")) for path in source.rglob("*") if path.suffix in {".md", ".rst"}
    }
    left = {
        name
        for name in there
        if name != "index" and not (name.startswith("reference/") and (source / f"{name}.rst").exists())
    }
    groups = tomllib.loads((HERE / "contents.toml").read_text(encoding="utf-8"))["group"]
    sections = [entry["page"] for group in groups for entry in group["entries"] if isinstance(entry, dict)]
    left -= set(sections)
    index = ""
    for group in groups:
        entries: list[str] = []
        for entry in group["entries"]:
            if isinstance(entry, str):
                entries += _matching(entry, left)
            else:
                below = [name for pattern in entry["below"] for name in _matching(pattern, left)]
                entries += _section(source, entry, below)
        if entries:
            index += toctree([f"/{name}" for name in entries], hidden=True, caption=group["caption"])
    if left:
        raise FaultError(f"docs/site/contents.toml: where do these stand? {', '.join(sorted(left))}")
    with open(source / "index.md", "a", encoding="utf-8") as file:
        file.write("\n" + index)


def _matching(pattern: str, left: set[str]) -> list[str]:
    """The pages of a pattern that stand nowhere yet, taken out of those."""
    found = sorted(name for name in left if fnmatch(name, pattern))
    left -= set(found)
    return found


def _section(source: Path, entry: dict[str, Any], below: list[str]) -> list[str]:
    path = source / f"{entry['page']}.md"
    if not path.exists():
        if not below:
            return []
        listed = "\n".join(_described(source, path, name) for name in below)
        contents = toctree([f"/{name}" for name in below], hidden=True)
        write(path, f"{_SPDX}# {entry['title']}\n\n{entry['text']}\n\n{listed}\n\n{contents}")
    elif below:
        with open(path, "a", encoding="utf-8") as file:
            file.write("\n" + toctree([f"/{name}" for name in below], hidden=True))
    return [entry["page"]]


def _described(source: Path, page: Path, name: str) -> str:
    """An entry of a list of pages: a link, and what contents.toml says of the page, or its first sentence."""
    text = (source / f"{name}.md").read_text(encoding="utf-8")
    text = re.sub(r"<!--.*?-->|^(`{3,}).*?^\1", "", text, flags=re.DOTALL | re.MULTILINE)
    title = next((line[2:] for line in text.splitlines() if line.startswith("# ")), name)
    about = tomllib.loads((HERE / "contents.toml").read_text(encoding="utf-8"))["about"].get(name)
    if about is None:
        paragraphs = (part.strip() for part in text.partition(f"# {title}")[2].split("\n\n"))
        first = " ".join(next((part for part in paragraphs if re.match(r"[A-Z`*]", part)), "").split())
        # Links of that page lead nowhere from here.
        first = re.sub(r" ?\(\[[^]]*\]\([^)]*\)\)|\[([^]]*)\]\([^)]*\)", lambda found: found[1] or "", first)
        sentence = re.match(r".{20,260}?[.?](?= |$)", first)
        about = sentence[0] if sentence else ""
    link = f"[{title}]({os.path.relpath(source / f'{name}.md', page.parent)})"
    return f"- {link}. {about}" if about else f"- {link}"


def main() -> int:
    """Make all of it in a folder."""
    work = Path(sys.argv[1]).resolve()
    source = work / "source"
    shutil.rmtree(source, ignore_errors=True)
    source.mkdir(parents=True)
    try:
        copy_pages(source)
        collection(source, work)
        playbooks(source)
        command(source)
        navigation(source)
    except FaultError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
