"""Values to payloads and back: the only place that knows how user data is written.

A payload is (encoding, key id, data) from the first schema on. JSON is embedded verbatim, so that histories can be
read with SQL; bytes of other encodings are a JSON string of base64. There is no pickle and no type name in a payload:
the type comes from the annotations of the function that asks. What a payload is packed in on its way to the store
(compression, encryption, offload) `chain` alone knows: here the plain form is written and read.
"""

from __future__ import annotations

import inspect
import math
import sys
import typing
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import Raw

from perdure.codec.secret import ADVICE, ALLOWED, MARK, REFUSED, Secret
from perdure.errors import InvalidArgument, KeyMissing, NotDecodable, NotEncodable, PayloadTooLarge

JSON = "json"
"""Encoding of one value."""
ARGUMENTS = "json-arguments"
"""Encoding of a call's arguments when they are not exactly one positional: `[[positional...], {keyword: ...}]`."""
TEXT = "text"
"""Encoding of text of a remote client that need not be JSON."""

PAYLOAD_BYTES_MAX = 8 * 1024 * 1024
"""Bound of one payload. A larger one is refused where it is passed; put such data elsewhere and pass its address."""


class Payload(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One stored value: `data` is JSON text, verbatim."""

    encoding: str
    key: str | None
    data: Raw


class Confidential(Payload, frozen=True, array_like=True, gc=False):
    """A payload that is plain here and encrypted in the store: no error quotes what is in it."""


class Unreadable:
    """Stands where a value would be shown that cannot be read here: its key, or what holds it, is not there."""

    __slots__ = ("encoding", "key")

    def __init__(self, payload: Payload) -> None:
        self.encoding = payload.encoding
        self.key = payload.key

    def __repr__(self) -> str:
        return f"<encrypted, key {self.key}>" if self.key is not None else f"<stored as {self.encoding}>"


NULL = Raw(b"null")
NOTHING = Payload(JSON, None, NULL)


def is_packed(payload: Payload) -> bool:
    """Whether a codec has to unpack the payload before it can be read."""
    return "+" in payload.encoding


def _enc_hook(value: Any) -> Any:
    if isinstance(value, Secret):
        raise NotImplementedError(ADVICE)
    if hasattr(value, "__pydantic_serializer__"):
        return Raw(value.__pydantic_serializer__.to_json(value, context=REFUSED))
    if isinstance(value, BaseException):
        raise NotImplementedError("exceptions are raised, not passed")
    if hasattr(value, "__await__"):
        raise NotImplementedError(f"this {type(value).__qualname__} has to be awaited first")
    raise NotImplementedError(f"values of type {type(value).__module__}.{type(value).__qualname__} cannot be stored")


def _enc_hook_with_secrets(value: Any) -> Any:
    if isinstance(value, Secret):
        return {MARK: value.reveal()}
    if hasattr(value, "__pydantic_serializer__"):
        return Raw(value.__pydantic_serializer__.to_json(value, context=ALLOWED))
    return _enc_hook(value)


def _dec_hook(expected: Any, value: Any) -> Any:
    validator = getattr(expected, "__pydantic_validator__", None)
    if validator is not None:
        return validator.validate_python(value)
    if (typing.get_origin(expected) or expected) is Secret:
        inside = value[MARK] if isinstance(value, dict) and value.keys() == {MARK} else value
        (kind,) = typing.get_args(expected) or (Any,)
        return Secret(msgspec.convert(inside, kind, dec_hook=_dec_hook))
    if expected is object:
        return value
    raise NotImplementedError(f"cannot read a {expected!r} from a payload")


Encode = Callable[[Any], bytes]
_encode: Encode = msgspec.json.Encoder(enc_hook=_enc_hook, decimal_format="string").encode
_encode_with_secrets: Encode = msgspec.json.Encoder(enc_hook=_enc_hook_with_secrets, decimal_format="string").encode


class Writer:
    """Encodes values of at most `bytes_max` bytes; `secrets` may be among them if all that it writes is encrypted."""

    __slots__ = ("_bytes_max", "_encode", "_kind")

    def __init__(self, bytes_max: int = PAYLOAD_BYTES_MAX, *, secrets: bool = False) -> None:
        self._bytes_max = bytes_max
        self._encode = _encode_with_secrets if secrets else _encode
        self._kind = Confidential if secrets else Payload  # because it is shown by debuggers before it is encrypted

    def encode(self, value: Any) -> Payload:
        """The payload of one value. Raises NotEncodable naming the part that cannot be stored, PayloadTooLarge."""
        if value is None:
            return NOTHING
        return self._kind(JSON, None, Raw(_bounded(value, self._encode, self._bytes_max)))

    def encode_arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Payload:
        """The payload of a call's arguments. One positional argument is stored as itself, as other SDKs do it.

        Except None, because null is what a call without arguments stores.
        """
        if not kwargs:
            if len(args) == 1 and args[0] is not None:
                return self.encode(args[0])
            if not args:
                return NOTHING
        return self._kind(ARGUMENTS, None, Raw(_bounded([args, kwargs], self._encode, self._bytes_max)))


PLAIN = Writer()
"""Writes where no codec is configured."""
encode = PLAIN.encode
encode_arguments = PLAIN.encode_arguments


def _bounded(value: Any, encode: Encode, bytes_max: int) -> bytes:
    try:
        data = encode(value)
    except (TypeError, ValueError, NotImplementedError, OverflowError, RecursionError, UnicodeEncodeError) as error:
        path, part = _culprit(value, "value", encode)
        raise NotEncodable(
            f"{path} cannot be stored: {error or type(part).__qualname__}; pass JSON types, dataclasses, msgspec "
            "structs, enums, datetime, UUID, Decimal or pydantic models"
        ) from error
    if b"null" in data:
        _refuse_non_finite(value, "value")
    if len(data) > bytes_max:
        raise PayloadTooLarge(
            f"the value takes {len(data):,} bytes as JSON and the bound is {bytes_max:,}; store it elsewhere "
            "and pass its address"
        )
    return data


def _refuse_non_finite(value: Any, path: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise NotEncodable(f"{path} cannot be stored: {value} is no number of JSON; pass None, text or a Decimal")
    for step, part in _parts(value):
        _refuse_non_finite(part, path + step)


def _culprit(value: Any, path: str, encode: Encode, depth: int = 0) -> tuple[str, Any]:
    """The path of the innermost part that does not encode, for the message alone."""
    if depth < 20:
        for step, part in _parts(value):
            try:
                encode(part)
            except Exception:  # noqa: BLE001 because whatever it raises, this part is the one
                return _culprit(part, path + step, encode, depth + 1)
    return path, value


def _parts(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, Secret):
        return [("", value.reveal())]
    if isinstance(value, dict):
        return [(f"[{key!r}]", part) for key, part in value.items()]
    if isinstance(value, (list, tuple, set, frozenset)):
        return [(f"[{index}]", part) for index, part in enumerate(value)]
    if isinstance(value, msgspec.Struct):
        return [(f".{name}", getattr(value, name)) for name in value.__struct_fields__]
    if hasattr(value, "__dataclass_fields__"):
        return [(f".{name}", getattr(value, name)) for name in value.__dataclass_fields__]
    return []


@lru_cache(maxsize=4096)
def _decoder(expected: Any) -> Callable[[Any], Any]:
    validator = getattr(expected, "__pydantic_validator__", None)
    if validator is not None and isinstance(expected, type):
        # because only pydantic's own JSON mode reads back what its JSON mode wrote (timedelta, bytes, strict fields)
        return lambda data: validator.validate_json(bytes(data))
    return msgspec.json.Decoder(expected, dec_hook=_dec_hook).decode


def decode(payload: Payload | None, expected: Any = Any) -> Any:
    """The value of a payload as `expected`. Raises NotDecodable with the path where data and type differ."""
    if type(payload) is not Payload or payload.key is not None or payload.encoding not in _PLAIN_ENCODINGS:
        return _decode_other(payload, expected)
    try:
        return _decoder(expected)(payload.data)
    except (TypeError, ValueError, NotImplementedError) as error:
        raise _misfit(payload.data, expected, error) from error


_PLAIN_ENCODINGS = frozenset((JSON, ARGUMENTS))


def _decode_other(payload: Payload | None, expected: Any) -> Any:
    if payload is None:
        return None
    if payload.encoding == TEXT:
        return msgspec.json.decode(payload.data)
    if payload.encoding not in _PLAIN_ENCODINGS or payload.key is not None:
        raise unreadable(payload)
    return _decode_confidential(payload.data, expected)


def unreadable(payload: Payload) -> NotDecodable:
    """The error of a payload whose key or encoding is not known."""
    if is_packed(payload) and payload.key is not None:
        return KeyMissing(
            f"a payload is encrypted with key {payload.key!r}, which is not here; give the app or client a codec that "
            "has it"
        )
    return NotDecodable(f"payload encoding {payload.encoding!r} (key {payload.key!r}) is not known here")


def _decode_confidential(data: Any, expected: Any) -> Any:
    try:
        value = decode_json(data, expected)
    except NotDecodable:
        raise NotDecodable(
            f"payload does not fit {_type_name(expected)}; it lies encrypted in the store, so nothing of it is quoted"
        ) from None
    return _with_secrets(value) if MARK.encode() in bytes(data) else value


def _with_secrets(value: Any) -> Any:
    """The value with what was stored as a secret as one again, where no type said so."""
    if isinstance(value, dict):
        if value.keys() == {MARK}:
            return Secret(value[MARK])
        return {key: _with_secrets(part) for key, part in value.items()}
    return [_with_secrets(part) for part in value] if isinstance(value, list) else value


def readable(payload: Payload | None) -> Any:
    """The value of a payload for people to see; its text if that is no value of Python, such as the number 1e999 of
    another language, and an Unreadable if it cannot be read here."""
    if payload is None:
        return None
    if is_packed(payload):
        return Unreadable(payload)
    try:
        return decode(payload)
    except NotDecodable:
        # because everything else about an instance is to be seen beside it
        is_quotable = payload.key is None and payload.encoding in _PLAIN_ENCODINGS and type(payload) is Payload
        return bytes(payload.data).decode("utf-8", "replace") if is_quotable else Unreadable(payload)


def decode_json(data: Any, expected: Any) -> Any:
    """The value of JSON text as `expected`. Raises NotDecodable as `decode` does."""
    try:
        return _decoder(expected)(data)
    except (TypeError, ValueError, NotImplementedError) as error:
        raise _misfit(data, expected, error) from error


def _misfit(data: Any, expected: Any, error: Exception) -> NotDecodable:
    if isinstance(error, TypeError):
        return NotDecodable(f"payloads cannot be read as {expected!r}: {error}")
    shown = bytes(data)[:80].decode("utf-8", "replace")
    return NotDecodable(f"payload does not fit {_type_name(expected)}: {error}; it begins {shown!r}")


def _type_name(expected: Any) -> str:
    return getattr(expected, "__qualname__", None) or repr(expected)


class Signature:
    """The types of one function's arguments and result, read from its annotations when they are first needed.

    `skip` drops leading parameters that the engine supplies (the context of generator style).
    """

    __slots__ = ("_function", "_parameters", "_positional", "_required", "_result", "_single", "_skip")

    def __init__(self, function: Callable[..., Any], skip: int = 0) -> None:
        self._function = function
        self._skip = skip
        self._parameters: list[inspect.Parameter] | None = None
        self._single: Any = Any
        self._result: Any = Any
        self._required, self._positional = _arity(function, skip)

    @property
    def result(self) -> Any:
        """The annotated type of the result, or Any."""
        if self._parameters is None:
            self._read()
        return self._result

    @property
    def argument(self) -> Any:
        """The annotated type of the first parameter, or Any."""
        self._read()
        return self._single

    def decode(self, payload: Payload | None) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The (positional, keyword) arguments that a payload holds, each as its parameter's type."""
        parameters = self._parameters
        if parameters is None:
            parameters = self._read()
        if payload is None:
            payload = NOTHING
        if payload.encoding != ARGUMENTS:
            if payload.encoding != JSON and is_packed(payload):
                raise unreadable(payload)
            if not parameters or (payload.data == NULL and parameters[0].default is not inspect.Parameter.empty):
                return (), {}
            return (decode(payload, self._single),), {}
        args, kwargs = msgspec.json.decode(payload.data, type=tuple[list[Raw], dict[str, Raw]])
        types = self._types_of(len(args), kwargs)
        read = _decode_confidential if type(payload) is Confidential else decode_json
        values = [read(data, expected) for data, expected in zip((*args, *kwargs.values()), types, strict=True)]
        return tuple(values[: len(args)]), dict(zip(kwargs, values[len(args) :], strict=True))

    def check(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Raise InvalidArgument if a call with these arguments could not be made."""
        if not kwargs and self._required <= len(args) <= self._positional:
            return  # because binding costs ten times what the rest of a call does
        try:
            inspect.signature(self._function).bind(*(None,) * self._skip, *args, **kwargs)
        except TypeError as error:
            raise InvalidArgument(f"{self._function.__qualname__}(): {error}") from None

    def verify(self, payload: Payload) -> None:
        """Raise InvalidArgument if the function could not read these arguments as the types that it names."""
        try:
            self.decode(payload)
        except NotDecodable as error:
            raise InvalidArgument(f"{self._function.__qualname__}(): {error}") from None

    def _types_of(self, count: int, kwargs: dict[str, Raw]) -> list[Any]:
        parameters = self._read()
        by_name = {parameter.name: parameter for parameter in parameters}
        plain = [p.annotation for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        surplus = [_variadic(parameters, inspect.Parameter.VAR_POSITIONAL)] * (count - len(plain))
        positional = [*plain, *surplus][:count]
        rest = _variadic(parameters, inspect.Parameter.VAR_KEYWORD)
        return positional + [by_name[name].annotation if name in by_name else rest for name in kwargs]

    def _read(self) -> list[inspect.Parameter]:
        if self._parameters is None:
            hints = _hints(self._function)
            found = list(inspect.signature(self._function).parameters.values())[self._skip :]
            self._parameters = [p.replace(annotation=hints.get(p.name, Any)) for p in found]
            if self._parameters:
                self._single = self._parameters[0].annotation
            self._result = _plain(hints.get("return", Any))
        return self._parameters


def _arity(function: Callable[..., Any], skip: int) -> tuple[int, int]:
    """How many positional arguments a call that gives no keywords must and may have."""
    parameters = list(inspect.signature(function).parameters.values())[skip:]
    plain = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    forced = [p for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    required = sum(p.default is p.empty for p in plain)
    return (required if not forced else len(plain) + 1), len(plain)


def _variadic(parameters: list[inspect.Parameter], kind: Any) -> Any:
    return next((p.annotation for p in parameters if p.kind is kind), Any)


def _plain(expected: Any) -> Any:
    """What a payload can be read as: a coroutine's or generator's result, Any where nothing is said."""
    if expected is None or expected is type(None):
        return Any
    if expected is typing.NoReturn or isinstance(expected, typing.TypeVar):
        return Any
    origin = typing.get_origin(expected)
    if origin is not None and getattr(origin, "__name__", "") in ("Generator", "Coroutine"):
        return _plain(typing.get_args(expected)[2])
    if origin is not None and getattr(origin, "__name__", "") in ("Iterator", "Iterable"):
        return Any
    return expected


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except (NameError, TypeError, AttributeError):
        # because a name may exist for type checkers alone; what can be resolved still serves
        namespace = vars(sys.modules.get(function.__module__, sys))
        found = {}
        for name, annotation in getattr(function, "__annotations__", {}).items():
            try:
                found[name] = eval(annotation, dict(namespace)) if isinstance(annotation, str) else annotation  # noqa: S307
            except Exception:  # noqa: BLE001 because an annotation for checkers alone says nothing here
                found[name] = Any
        return found
