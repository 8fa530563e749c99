"""The existing name that was probably meant."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from balance.errors import nearest, words

_CANDIDATES = 20


class NearestName:
    """Finds the most similar of many names. Only those that share most words with a name are compared letter by letter, so that looking up
    thousands of unknown names among thousands of known ones does not take quadratic time."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = sorted(set(names))
        self._by_word: dict[str, list[int]] = {}
        for index, name in enumerate(self.names):
            for word in words(name):
                self._by_word.setdefault(word, []).append(index)
        self._answers: dict[str, str] = {}

    def __call__(self, name: str) -> str:
        """The most similar name, or an empty string if none is similar."""
        if name not in self._answers:
            self._answers[name] = self._find(name)
        return self._answers[name]

    def _find(self, name: str) -> str:
        shared: Counter[int] = Counter()
        for word in words(name):
            owners = self._by_word.get(word, ())
            if len(owners) <= 500:  # a word of every name, such as that of the service, does not discriminate
                shared.update(dict.fromkeys(owners, 3))
            else:
                shared.update(dict.fromkeys(owners[:_CANDIDATES], 1))
        return nearest(name, self.names if len(self.names) <= 200 else [self.names[index] for index, _ in shared.most_common(_CANDIDATES)])
