# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What feeders say of reals: their files are read where they change, and what they said is kept over a reboot.

Probes wait for nothing of it: a large file is read in slices, and the disk is written to by a thread.
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence

from .._kernel.run_files import RunFiles
from .._kernel.state_folder import STATE_ROOT, StateFolder
from .._model.errors import StateError
from .._model.external import Steps, Word, words_to_json
from .._model.feeder_files import words_in
from .._model.judging import Checked, unmatched
from .._model.kept_words import KeptWords, kept_to_json, still_held
from .._model.words_file import WORDS_FILE

_SLICE_SECONDS = 0.004
_PAUSE_SECONDS = 0.004
"""So long words are read at once, and so long others have their turn before it goes on."""

_KEEP_SECONDS = 1.0
"""The disk is written to no more often than this."""

_STEPS_AT_ONCE = 16


class Feeders:
    """The feeders of one balancer. `words`: what each file said when it was last whole, expired or not.

    `tell`: told one sentence of each thing that is wrong, when it begins to be.
    """

    def __init__(self, files: RunFiles, tell: Callable[[str], None], state: str = STATE_ROOT) -> None:
        self._files, self._tell = files, tell
        self._folder = StateFolder(os.path.basename(files.folder), "", state)
        self._path = os.path.join(self._folder.directory, WORDS_FILE)
        self.words: Mapping[str, Sequence[Word]] = {}
        self.text = "{}"
        self.heard = False
        """Whether all that they say was read."""
        self._life = ""
        self._held: frozenset[str] = frozenset()
        self._stamps: Mapping[str, tuple[int, int, int]] | None = None
        self._faults: Mapping[str, str] = {}
        self._wrong: set[str] = set()
        self._reading: asyncio.Task[None] | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._version = self._kept_version = 0
        self._kept: int | None = None
        self._kept_at = -math.inf
        self._unkept = ""

    def resume(self, words: Mapping[str, Sequence[Word]]) -> None:
        """Go on from what an earlier agent heard. `words`: as checks.json has them, which no reboot leaves."""
        self.words = words
        try:
            source = self._folder.read_file(WORDS_FILE)
            kept = KeptWords.from_json(source, self._path) if source is not None else None
        except StateError as error:
            self._tell(str(error))
            kept = None
        try:
            self._life = self._files.life()
        except StateError as error:
            self._tell(str(error))
        if kept is not None:
            self._kept = hash(source)
            kept = kept.in_life(self._life, time.time())
            self.words, self._held = kept.words, kept.held

    def look(self, checked: Checked) -> bool:
        """Look whether they say something else; whether they do, and it was read. `checked`: what it may be about."""
        heard = False
        if self._reading is not None and self._reading.done():
            reading, self._reading = self._reading, None
            reading.result()
            heard = True
        if self._reading is None:
            files = self._files.word_files()
            if files != self._stamps:
                steps = self._read(files, checked)
                if _slice(steps):
                    heard = True
                else:
                    self._reading = asyncio.get_running_loop().create_task(_go_on(steps), name="words")
        self._keep()
        return heard

    def _read(self, files: Mapping[str, tuple[int, int, int]], checked: Checked) -> Steps[None]:
        words, held = still_held(self.words, self._held, time.time())
        found = {name: words[name] for name in held if name not in files}
        faults: dict[str, str] = {}
        before = self._stamps or {}
        for name in sorted(files):
            found[name] = words.get(name, ())
            if files[name] == before.get(name):
                faults |= {name: self._faults[name]} if name in self._faults else {}
                continue
            try:
                found[name] = yield from words_in(
                    self._files.read_word_file(name), os.path.join(self._files.words, name)
                )
            except StateError as error:
                faults[name] = str(error)
            yield
        text = yield from words_to_json(found)
        wrong = yield from unmatched(checked, found, time.time())
        self.words, self.text, self.heard = found, text, True
        self._stamps, self._faults, self._held = files, faults, held.difference(files)
        self._version += 1
        self._say([*faults.values(), *wrong])

    def _say(self, faults: Sequence[str]) -> None:
        for sentence in faults:
            if sentence not in self._wrong:
                self._tell(sentence)
        self._wrong = set(faults)

    # What outlives a reboot

    def _keep(self) -> None:
        """Have written down what they said, where that is another than on the disk."""
        if self._keeping is not None and not self._keeping.done():
            return
        self._tell_unkept()
        now = time.monotonic()
        if self._version == self._kept_version or now - self._kept_at < _KEEP_SECONDS:
            return
        text = kept_to_json(self._life, self.text, self._held)
        self._kept_version, self._kept_at = self._version, now
        # Where nobody ever said anything, nothing need be there.
        if hash(text) != self._kept and (self._kept is not None or self.words):
            self._kept = hash(text)
            self._keeping = asyncio.get_running_loop().create_task(
                asyncio.to_thread(self._folder.write_file, WORDS_FILE, text), name="keep words"
            )

    def _tell_unkept(self) -> None:
        """Tell once where the disk did not take it, which is tried again."""
        keeping, self._keeping = self._keeping, None
        if keeping is None:
            return
        sentence = ""
        try:
            keeping.result()
        except StateError as error:
            sentence = str(error)
            self._kept, self._kept_version = 0, -1
        if sentence and sentence != self._unkept:
            self._tell(sentence)
        self._unkept = sentence

    async def close(self, kept: bool) -> None:
        """Read no more. `kept`: what was heard is written down."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])
        await self._kept_now()
        if kept:
            self._kept_at = -math.inf
            self._keep()
            await self._kept_now()

    async def _kept_now(self) -> None:
        if self._keeping is not None:
            await asyncio.wait([self._keeping])
            self._tell_unkept()


def _slice(steps: Steps[None]) -> bool:
    """Go on for a moment; whether that was all."""
    until = time.perf_counter() + _SLICE_SECONDS
    while time.perf_counter() < until:
        for _step in range(_STEPS_AT_ONCE):
            try:
                next(steps)
            except StopIteration:
                return True
    return False


async def _go_on(steps: Steps[None]) -> None:
    while not _slice(steps):
        await asyncio.sleep(_PAUSE_SECONDS)
