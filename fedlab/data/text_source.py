"""The base of sources of texts: from texts with labels to ids, by one vocabulary."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, PositiveInt, model_validator

from fedlab import rng
from fedlab.data.ids import Ids
from fedlab.data.labels import classes_of, renamed
from fedlab.data.next_token import cut_in_time, windows
from fedlab.data.remarks import counted
from fedlab.data.samples import Domain
from fedlab.data.sequences import padded
from fedlab.data.source import LoadContext, Source
from fedlab.data.stratify import split
from fedlab.data.text_rows import TextRow
from fedlab.data.vocabulary import (
    Bytes,
    Characters,
    TokenizerFile,
    Vocabulary,
    Words,
    composed,
)
from fedlab.errors import InputError

MADE = ("words", "characters")
"""Vocabularies that are made of the texts themselves."""


class TextSource(Source):
    """A source of texts.

    Attributes:
        task: ``classes`` learns the label of a text; ``next_token`` the token that follows each
            window of `length` tokens, where the classes are the tokens of the vocabulary.
        tokenizer: ``words`` (in small letters; a sign is a word) and ``characters`` are those of
            the training texts of all domains that clients own; ``bytes`` are those of UTF-8; and
            everything else is the path of a file ``tokenizer.json`` of the library `tokenizers`.
        most_words: Ids at most of a vocabulary of words, the most frequent ones.
        length: Tokens of a sample: longer texts are cut at their ends, shorter ones filled up.
        stride: Tokens from one window to the next, where the task is ``next_token``.
        test_share: Share of a domain's texts that become its test split, stratified by class; of
            each text, its end, where the task is ``next_token``.
        class_names: Names of the classes, in the order of the sorted labels; by default the
            labels themselves.
    """

    task: Literal["classes", "next_token"] = "classes"
    tokenizer: Literal["words", "characters", "bytes"] | Path = "words"
    most_words: int = Field(default=10_000, ge=3)
    length: PositiveInt = 64
    stride: PositiveInt = 1
    test_share: float = Field(default=0.2, gt=0, lt=1)
    class_names: tuple[str, ...] | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _says_nothing_in_vain(self) -> TextSource:
        if self.most_words != 10_000 and self.tokenizer != "words":
            raise ValueError("most_words goes with tokenizer: words only; leave it out")
        if self.task == "classes" and self.stride != 1:
            raise ValueError("stride goes with task: next_token only; leave it out")
        if self.task == "next_token" and self.class_names:
            raise ValueError("class_names goes with labels, and task: next_token has none")
        return self

    @property
    def vocabulary_is_fixed(self) -> bool:
        """See `Source.vocabulary_is_fixed`."""
        return self.tokenizer not in MADE

    @abstractmethod
    def texts(self, context: LoadContext) -> Mapping[str, Sequence[TextRow]]:
        """The texts of every domain, with labels where the task needs them.

        Raises:
            InputError: If they cannot be read.
        """

    def load(self, context: LoadContext) -> Sequence[Domain]:
        """Reads all texts, splits each domain, makes the vocabulary, and encodes.

        Raises:
            InputError: If texts cannot be read, labels are no classes, or a text is too short.
        """
        texts = self.texts(context)
        kept = {name: rows for name, rows in texts.items() if context.keeps(name)} or texts
        if self.task == "next_token":
            domains = self._next_tokens(kept, context)
        else:
            labels = [row.label for rows in texts.values() for row in rows]
            domains = self._classes(kept, labels, context)
        names = domains[0].class_names
        return [*domains, *(Domain.left_out(name, names) for name in texts if name not in kept)]

    def _classes(
        self,
        texts: Mapping[str, Sequence[TextRow]],
        labels: Sequence[str],
        context: LoadContext,
    ) -> list[Domain]:
        """The domains of texts, whose classes are those of all labels."""
        remedy, key = "name the column that holds classes", f"{context.key}.label"
        codes, names, remarks = classes_of({*labels}, len(labels), "auto", key, remedy)
        names = renamed(names, self.class_names, context.key)
        splits = {}
        for name, rows in texts.items():
            classes = np.array([codes[row.label] for row in rows], np.int64)
            dealing = rng.generator(context.seed, "split", name)
            splits[name] = classes, *split(classes, self.test_share, dealing)
        learnt = [
            texts[name][row].text
            for name, (_, train, _) in splits.items()
            if context.learns_from(name)
            for row in train
        ]
        vocabulary = self._vocabulary(learnt, context)
        domains, longer, count = [], 0, 0
        for name, (classes, train, test) in splits.items():
            context.limits.check_array((len(classes), self.length), 8, f"{context.key}: '{name}'")
            own: list[list[int]] = []
            for row in texts[name]:
                ids = vocabulary.ids(row.text)
                longer += len(ids) > self.length
                own.append(ids[: self.length])
            count += len(own)
            made = padded(own, self.length, vocabulary.pad)
            domains.append(
                Domain(
                    name,
                    made[train],
                    classes[train],
                    made[test],
                    classes[test],
                    names,
                    ids=_ids(vocabulary),
                )
            )
        if longer:
            what = counted({f"text{{s}} after {self.length} tokens": longer})
            remarks.append(f"{context.key}.length: cut {what} (of {count:,})")
        return [domains[0].with_remarks(remarks), *domains[1:]]

    def _next_tokens(
        self, texts: Mapping[str, Sequence[TextRow]], context: LoadContext
    ) -> list[Domain]:
        whole = {
            name: composed("\n".join(row.text for row in rows)) for name, rows in texts.items()
        }
        cuts = {name: cut_in_time(text, self.test_share) for name, text in whole.items()}
        learnt = [cuts[name][0] for name in whole if context.learns_from(name)]
        vocabulary = self._vocabulary(learnt, context)
        names, domains = vocabulary.names(), []
        for name, parts in cuts.items():
            train, test = (self._windows(each, name, vocabulary, context) for each in parts)
            domains.append(Domain(name, *train, *test, names, ids=_ids(vocabulary)))
        return domains

    def _windows(
        self, text: str, name: str, vocabulary: Vocabulary, context: LoadContext
    ) -> tuple[np.ndarray, np.ndarray]:
        ids = vocabulary.ids(text)
        if len(ids) <= self.length:
            raise InputError(
                f"{context.key}: the text of domain '{name}' has {len(ids)} tokens to learn from "
                f"or to be tested on, and a window takes {self.length} and the one that follows; "
                "give it more text, or a smaller length"
            )
        count = -(-(len(ids) - self.length) // self.stride)
        context.limits.check_array(
            (count, self.length), 8, f"{context.key}: all windows of domain '{name}'"
        )
        return windows(ids, self.length, self.stride)

    def _vocabulary(self, texts: Sequence[str], context: LoadContext) -> Vocabulary:
        """The vocabulary, built from texts that may be learnt from or read from a file."""
        if self.tokenizer == "bytes":
            return Bytes()
        if self.tokenizer == "characters":
            return Characters(texts)
        if self.tokenizer == "words":
            return Words(texts, self.most_words)
        path = context.locate(Path(self.tokenizer))
        where = f"{context.key}.tokenizer: '{path}'"
        context.limits.check_file(path, where)
        return TokenizerFile(path, where)


def _ids(vocabulary: Vocabulary) -> Ids:
    return Ids(vocabulary=vocabulary.size, pad=vocabulary.pad)
