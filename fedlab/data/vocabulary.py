"""Vocabularies of characters, words or bytes, and those of tokenizer files."""

from __future__ import annotations

import re
import unicodedata
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from fedlab.data.sequences import padded
from fedlab.errors import InputError

PAD, UNKNOWN = 0, 1
"""Ids of the vocabularies made here: what fills up, and what training texts do not have."""

_WORDS = re.compile(r"\w+|[^\w\s]")
_SPOKEN = {" ": "space", "\n": "newline", "\t": "tab"}


class Vocabulary(ABC):
    """Converts texts to ids.

    Attributes:
        pad: The id that fills up.
    """

    pad: int = PAD

    @property
    @abstractmethod
    def size(self) -> int:
        """Number of ids, `pad` and the unknown one included."""

    @abstractmethod
    def ids(self, text: str) -> list[int]:
        """The ids of a text."""

    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """A unique name for each id, for next-token classes."""


class Characters(Vocabulary):
    """Each different character of some texts, in composed form (NFC), by code point."""

    def __init__(self, texts: Iterable[str]) -> None:
        found = sorted({each for text in texts for each in composed(text)})
        self._place = {each: place for place, each in enumerate(found, start=2)}

    @property
    def size(self) -> int:
        """See `Vocabulary.size`."""
        return 2 + len(self._place)

    def ids(self, text: str) -> list[int]:
        """See `Vocabulary.ids`."""
        return [self._place.get(each, UNKNOWN) for each in composed(text)]

    def names(self) -> tuple[str, ...]:
        """Characters themselves, and code points of those that are not visible."""
        return ("<pad>", "<unknown>", *map(_shown, self._place))


class Words(Vocabulary):
    """The most frequent words of some texts, in lower case; each punctuation mark is a word.

    Args:
        texts: The texts.
        most: Ids at most, padding and the unknown one included.
    """

    def __init__(self, texts: Iterable[str], most: int) -> None:
        counts = Counter(word for text in texts for word in _words(text))
        kept = sorted(counts, key=lambda word: (-counts[word], word))[: max(most - 2, 0)]
        self._place = {word: place for place, word in enumerate(kept, start=2)}

    @property
    def size(self) -> int:
        """See `Vocabulary.size`."""
        return 2 + len(self._place)

    def ids(self, text: str) -> list[int]:
        """See `Vocabulary.ids`."""
        return [self._place.get(word, UNKNOWN) for word in _words(text)]

    def names(self) -> tuple[str, ...]:
        """See `Vocabulary.names`."""
        return ("<pad>", "<unknown>", *self._place)


class Bytes(Vocabulary):
    """The bytes of UTF-8, each one more than its value: the same ids everywhere."""

    size: int = 257  # type: ignore[assignment]

    def ids(self, text: str) -> list[int]:
        """See `Vocabulary.ids`."""
        return [each + 1 for each in text.encode("utf-8", "surrogatepass")]

    def names(self) -> tuple[str, ...]:
        """See `Vocabulary.names`."""
        return ("<pad>", *(f"0x{each:02x}" for each in range(256)))


class TokenizerFile(Vocabulary):
    """A tokenizer of Hugging Face's library `tokenizers`, defined by its file.

    What fills up is what the file says, or else a token called ``[PAD]``, ``<pad>`` or
    ``<|padding|>``; if there is none, one more id. Special tokens are added as the file says; its
    own truncation and padding are left out.

    Args:
        path: The file, JSON.
        where: What it is called in errors.

    Raises:
        InputError: If it is no such file, or the library is not installed.
    """

    def __init__(self, path: Path, where: str) -> None:
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise InputError(
                f"{where}: the library that reads it is not installed; run pip install "
                '"fedlab-sim[text]", or use characters, words or bytes'
            ) from error
        try:
            self._read = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises plain `Exception`
            raise InputError(
                f"{where} is no tokenizer file ({error}); name a tokenizer.json of the library "
                "tokenizers, or use characters, words or bytes"
            ) from error
        stated = (self._read.padding or {}).get("pad_id")
        named = map(self._read.token_to_id, ("[PAD]", "<pad>", "<|padding|>"))
        known = [stated, *named]
        self._read.no_padding()
        self._read.no_truncation()
        self._tokens = self._read.get_vocab_size(with_added_tokens=True)
        largest = max(self._read.get_vocab(with_added_tokens=True).values(), default=-1)
        self._tokens = max(self._tokens, largest + 1)
        self.pad = next((each for each in known if each is not None), self._tokens)

    @property
    def size(self) -> int:
        """See `Vocabulary.size`."""
        return max(self._tokens, self.pad + 1)

    def ids(self, text: str) -> list[int]:
        """See `Vocabulary.ids`."""
        return self._read.encode(text).ids

    def names(self) -> tuple[str, ...]:
        """Tokens with their ids, since a token may be blank."""
        tokens = [self._read.id_to_token(each) or "" for each in range(self.size)]
        return tuple(f"{place}:{token.strip()}" for place, token in enumerate(tokens))


def encode(texts: Sequence[str], vocabulary: Vocabulary, length: int) -> np.ndarray:
    """Texts as ids of one length, cut or padded at their ends.

    Args:
        texts: Any texts, such as the strings of LEAF's Shakespeare.
        vocabulary: What turns them into ids.
        length: Ids to keep of each.

    Returns:
        int64 of shape (n, length).
    """
    return padded([vocabulary.ids(text) for text in texts], length, vocabulary.pad)


def composed(text: str) -> str:
    """A text with composed characters (NFC) and lines that end with a newline alone."""
    return unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))


def _words(text: str) -> list[str]:
    return _WORDS.findall(composed(text).lower())


def _shown(character: str) -> str:
    visible = character.isprintable() and not character.isspace()
    return character if visible else _SPOKEN.get(character, f"U+{ord(character):04X}")
