"""The existing name that somebody probably meant."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from difflib import SequenceMatcher

from balance.errors import choices

_CANDIDATES = 20
_SHOWN = 10
_ALIKE = 0.6


class Nearest:
    """Finds the nearest of many names. Only those that share most words with the asked one are compared letter by letter, so that thousands of
    unknown names among thousands of known ones are no quadratic affair."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = sorted(set(names))
        self._by_word: dict[str, list[int]] = {}
        for index, name in enumerate(self.names):
            for word in _words(name):
                self._by_word.setdefault(word, []).append(index)
        self._answers: dict[str, str] = {}

    def __call__(self, name: str) -> str:
        """The nearest name, or nothing if none is alike."""
        if name not in self._answers:
            self._answers[name] = self._find(name)
        return self._answers[name]

    def _find(self, name: str) -> str:
        shared: Counter[int] = Counter()
        for word in _words(name):
            owners = self._by_word.get(word, ())
            if len(owners) <= 500:  # what is in every name, such as the name of the service, tells nothing
                shared.update(dict.fromkeys(owners, 3))
            else:
                shared.update(dict.fromkeys(owners[:_CANDIDATES], 1))
        candidates = [self.names[index] for index, _ in shared.most_common(_CANDIDATES)]
        if len(self.names) <= 200:
            candidates = self.names
        matcher = SequenceMatcher(b=name, autojunk=False)
        words = _words(name)
        best, found = _ALIKE, ""
        for candidate in sorted(candidates):
            matcher.set_seq1(candidate)
            whole = len(words) > 1 and words <= _words(candidate)  # only its unit or the like was left out
            if whole or (matcher.real_quick_ratio() > best and matcher.quick_ratio() > best):
                ratio = matcher.ratio()
                alike = (1 + ratio) / 2 if whole else ratio
                if alike > best:
                    best, found = alike, candidate
        return found


def few(values: Iterable[str]) -> str:
    """A list for messages, and of a long one the beginning."""
    ordered = sorted(values)
    more = f" and {len(ordered) - _SHOWN} more" if len(ordered) > _SHOWN else ""
    return choices(ordered[:_SHOWN]) + more


def _words(name: str) -> set[str]:
    words = {word.removesuffix("s") for word in name.lower().replace(":", "_").replace(".", "_").split("_")}
    return words - {"", "total", "bucket", "count", "sum"}
