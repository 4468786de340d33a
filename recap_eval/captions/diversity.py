"""How varied words are, in blocks of a fixed number of words: figures of long texts fall with their length, these do not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

BLOCK = 1000  # words
MTLD_THRESHOLD = 0.72  # McCarthy and Jarvis 2010


def blocks(texts: Sequence[Sequence[str]], size: int = BLOCK) -> Iterator[list[list[str]]]:
    """Cut the words of texts, one text after the other, into blocks of exactly `size` words; what is left over is left out.

    Args:
        texts: Words of each text, in a fixed order.
        size: Words of a block.

    Yields:
        The parts of texts that a block is made of.
    """
    block: list[list[str]] = []
    room = size
    for words in texts:
        rest = list(words)
        while rest:
            block.append(rest[:room])
            rest, room = rest[room:], room - len(block[-1])
            if not room:
                yield block
                block, room = [], size


def distinct_n(block: Sequence[Sequence[str]], n: int) -> float:
    """Return distinct n-grams over n-grams of a block (Li et al. 2016); none crosses from one text into another."""
    grams = [tuple(words[at : at + n]) for words in block for at in range(len(words) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 0.0


def mtld(words: Sequence[str], threshold: float = MTLD_THRESHOLD) -> float:
    """Return the measure of textual lexical diversity, read forwards and backwards (McCarthy and Jarvis 2010).

    It is the mean length of stretches whose share of distinct words stays above a threshold; what is left at the end counts as
    part of a stretch. Of a text in which no word comes twice it is the length.
    """
    return (_one_way(words, threshold) + _one_way(words[::-1], threshold)) / 2


def _one_way(words: Sequence[str], threshold: float) -> float:
    factors, seen, length, share = 0.0, set[str](), 0, 1.0
    for word in words:
        seen.add(word)
        length += 1
        share = len(seen) / length
        if share <= threshold:
            factors, seen, length, share = factors + 1, set(), 0, 1.0
    if length:
        factors += (1 - share) / (1 - threshold)
    return len(words) / factors if factors else float(len(words))
