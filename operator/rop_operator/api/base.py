"""Base of the models: camelCase members, unknown ones refused, strict types, rules over several members."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from rop_operator.api.rules import RULE, Relation, Transition, matching

ObjectName = Annotated[
    str,
    matching(
        r"[a-z0-9]([-a-z0-9]{0,251}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,251}[a-z0-9])?)*",
        "a name is made of lower-case letters, digits, - and . and begins and ends with a letter or digit",
        253,
    ),
]
SecretKey = Annotated[
    str, matching(r"[-._a-zA-Z0-9]{1,253}", "a key is 1 to 253 letters, digits, -, _ and .", 253)
]


class Model(BaseModel):
    """A part of a document."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        strict=True,
        frozen=True,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
    )
    relations: ClassVar[tuple[Relation, ...]] = ()
    transitions: ClassVar[tuple[Transition, ...]] = ()

    @model_validator(mode="after")
    def _related(self) -> Any:
        for relation in self.relations:
            if not relation.check(self):
                context = {"message": relation.message, "member": relation.member}
                raise PydanticCustomError(RULE, "{message}", context)
        return self


class ObjectRef(Model):
    """Another object in the same namespace."""

    name: ObjectName
    """Its name."""


class SecretRef(Model):
    """A value of a secret in the same namespace. On a cluster it needs the label `rop.dev/referable: "true"`."""

    name: ObjectName
    """Name of the secret."""
    key: SecretKey
    """Key within the secret."""
