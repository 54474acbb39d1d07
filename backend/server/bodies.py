"""The base of request bodies: unknown fields are found by name, wherever they stand, and refused or, on wish, ignored.

Pydantic models describe bodies to clients (OpenAPI) and check them; what they mean is decided by the routes.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from ...lang.errors import ParameterError, did_you_mean
from ...lang.sampling import MAX_TOKEN_ID

TokenId = Annotated[int, Field(ge=0, le=MAX_TOKEN_ID)]
Text = Annotated[str, Field(max_length=1 << 22)]


class Body(BaseModel):
    """A JSON object of a request. Extra fields are kept until `check_known` has looked at them."""

    model_config = ConfigDict(
        extra="allow", frozen=True, json_schema_extra={"additionalProperties": False}, protected_namespaces=()
    )

    def given(self) -> dict[str, Any]:
        """Return the fields that the client sent, as plain values, unknown ones left out."""
        extras = set(self.model_extra or ())
        return self.model_dump(exclude_unset=True, exclude=extras)


def check_known(body: BaseModel, path: str = "") -> None:
    """Raise `ParameterError` for the first field that the model does not have, with the nearest one it has."""
    known = list(type(body).model_fields)
    for name in body.model_extra or ():
        raise ParameterError(f"unknown field {path + name!r}{did_you_mean(name, known)}")
    for name in known:
        value = getattr(body, name)
        for index, item in enumerate(value if isinstance(value, list) else [value]):
            if isinstance(item, BaseModel):
                place = f"{path}{name}[{index}]." if isinstance(value, list) else f"{path}{name}."
                check_known(item, place)
