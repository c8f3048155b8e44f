"""What groups of settings are made of."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Milliseconds = Annotated[int, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A group of settings; a name that it does not know is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)
