"""Properties that are computed once.

``functools.cached_property`` holds one lock for all objects of a class until Python 3.12, and what is computed here may
wait for other processes, or for threads that stand for them and ask for the same property: they would wait for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")


class cached_property(Generic[T]):  # noqa: N801  (as in functools)
    """A property that is computed when it is first asked for; by several threads at once, several times.

    Parameters
    ----------
    function : callable
    """

    def __init__(self, function: Callable[[Any], T]) -> None:
        self._function, self.__doc__ = function, function.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> cached_property[T]: ...

    @overload
    def __get__(self, instance: object, owner: type) -> T: ...

    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self
        # Set last: a property of a base class, asked for through super(), has the same name.
        value = instance.__dict__[self._name] = self._function(instance)
        return value
