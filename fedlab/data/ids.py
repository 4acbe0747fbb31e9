"""Token ids: how many there are, and which one fills up."""

from __future__ import annotations

from pydantic import Field, PositiveInt, model_validator

from fedlab.config.component import ConfigBlock


class Ids(ConfigBlock):
    """What the ids of sequences are; used with ``data.inputs: ids``.

    Attributes:
        vocabulary: Number of different ids, which are 0 to `vocabulary` - 1: the rows of a
            network's table of vectors. By default what the source says, or else one more than the
            largest id.
        pad: The id that fills sequences up; networks leave it out. By default what the source
            says, or else none.
        length: Ids of a sequence: what is longer is cut at its end, what is shorter is filled up
            with `pad` at its end. By default all are as long as they are, or as the longest one
            where sequences of different lengths are filled up.
    """

    vocabulary: PositiveInt | None = None
    pad: int | None = Field(default=None, ge=0)
    length: PositiveInt | None = None

    @model_validator(mode="after")
    def _pad_is_an_id(self) -> Ids:
        if self.vocabulary is not None and self.pad is not None and self.pad >= self.vocabulary:
            raise ValueError(
                f"pad {self.pad} is no id of a vocabulary of {self.vocabulary}, whose ids are 0 to "
                f"{self.vocabulary - 1}; give another one, or a larger vocabulary"
            )
        return self
