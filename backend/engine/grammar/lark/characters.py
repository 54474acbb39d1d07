"""Sets of characters as automata over the bytes of UTF-8, as small as they can be.

States are numbered over all sets together, so equal tails are one state. Knows nothing of patterns. Called by the
terminals' determinisation.
"""

from __future__ import annotations

from ..character_set import Ranges

Arcs = tuple[tuple[int, int, int], ...]
"""(first byte, last byte, next state), sorted and disjoint."""

DONE = 0  # the state after a character's last byte

# First and last character of each length in bytes, and the bits of the first byte that tell the length.
_LENGTHS = ((0x0, 0x7F, 0x00), (0x80, 0x7FF, 0xC0), (0x800, 0xFFFF, 0xE0), (0x10000, 0x10FFFF, 0xF0))


class CharacterAutomata:
    """States of characters that are partly read. Used by one thread at a time."""

    def __init__(self) -> None:
        self.arcs: list[Arcs] = [()]
        self._numbers: dict[Arcs, int] = {}
        self._tails: dict[tuple[Ranges, int], int] = {}

    def state(self, ranges: Ranges) -> int:
        """Return the state that reads exactly one character of `ranges`.

        >>> automata = CharacterAutomata()
        >>> automata.arcs[automata.state(((0x61, 0x63), (0xE9, 0xE9)))]
        ((97, 99, 0), (195, 195, 1))
        """
        arcs: list[tuple[int, int, int]] = []
        for length, (lowest, highest, marker) in enumerate(_LENGTHS, start=1):
            inside = ((max(first, lowest), min(last, highest)) for first, last in ranges)
            arcs += self._arcs(tuple(pair for pair in inside if pair[0] <= pair[1]), length, marker)
        return self._number(tuple(arcs))

    def _arcs(self, ranges: Ranges, num_bytes: int, marker: int) -> list[tuple[int, int, int]]:
        """Return arcs by the first of the `num_bytes` bytes to come; each but the first holds six bits of the value."""
        size = 64 ** (num_bytes - 1)  # values that share a first byte
        by_byte: dict[int, list[tuple[int, int]]] = {}
        runs: list[tuple[int, int, Ranges]] = []  # bytes, and what the rest of the value may be
        for first, last in ranges:
            low, high = first // size, last // size
            for byte in {low, high}:
                base = byte * size
                by_byte.setdefault(byte, []).append((max(first - base, 0), min(last - base, size - 1)))
            if high - low > 1:
                runs.append((low + 1, high - 1, ((0, size - 1),)))
        runs += [(byte, byte, tuple(parts)) for byte, parts in by_byte.items()]
        arcs: list[tuple[int, int, int]] = []
        for low, high, rest in sorted(runs):
            target = self._tail(rest, num_bytes - 1)
            if arcs and arcs[-1][1] + 1 == low + marker and arcs[-1][2] == target:
                arcs[-1] = (arcs[-1][0], high + marker, target)
            else:
                arcs.append((low + marker, high + marker, target))
        return arcs

    def _tail(self, ranges: Ranges, num_bytes: int) -> int:
        if num_bytes == 0:
            return DONE
        known = self._tails.get((ranges, num_bytes))
        if known is None:
            known = self._tails[ranges, num_bytes] = self._number(tuple(self._arcs(ranges, num_bytes, 0x80)))
        return known

    def _number(self, arcs: Arcs) -> int:
        number = self._numbers.get(arcs)
        if number is None:
            number = self._numbers[arcs] = len(self.arcs)
            self.arcs.append(arcs)
        return number
