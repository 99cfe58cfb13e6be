"""What is kept, and what is forgotten first."""

from __future__ import annotations

from promptengine.files.lru import SizedLRU


def test_the_longest_unused_is_forgotten_first() -> None:
    made: list[str] = []

    def make(key: str) -> str:
        made.append(key)
        return key

    recent: SizedLRU[str, str] = SizedLRU(6, len)
    for key in ("aa", "bb", "aa", "ccc", "aa", "bb"):
        assert recent.get(key, lambda key=key: make(key)) == key
    assert made == ["aa", "bb", "ccc", "bb"]


def test_what_is_larger_than_the_room_is_made_each_time() -> None:
    recent: SizedLRU[int, list[int]] = SizedLRU(3, len)
    first = recent.get(0, lambda: [1, 2, 3, 4])
    assert recent.get(0, lambda: [1, 2, 3, 4]) is not first
