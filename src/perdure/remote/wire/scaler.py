"""What KEDA asks of an external scaler, and what it is answered."""

from __future__ import annotations

import math
from typing import Any

from perdure.errors import InvalidArgument
from perdure.remote.requests import AskedLoad
from perdure.remote.wire.schema import SCALER_SCHEMA

TARGET = 100.0
"""What may wait for one replica, where the trigger does not say."""
METRIC = "perdure-load"
"""The name of the one metric."""


def read_reference(data: bytes) -> AskedLoad:
    """A ScaledObjectRef. Raises MalformedMessage and InvalidArgument."""
    return _asked(SCALER_SCHEMA.parse("ScaledObjectRef", data), METRIC)


def read_metrics(data: bytes) -> AskedLoad:
    """A GetMetricsRequest. Raises MalformedMessage and InvalidArgument."""
    message = SCALER_SCHEMA.parse("GetMetricsRequest", data)
    return _asked(message.scaledObjectRef, message.metricName or METRIC)


def write_active(*, is_active: bool) -> bytes:
    """An IsActiveResponse."""
    return _bytes(SCALER_SCHEMA.IsActiveResponse(result=is_active))


def write_spec(asked: AskedLoad) -> bytes:
    """A GetMetricSpecResponse: the number before and after KEDA 2.11, which had whole numbers alone."""
    target = asked.target
    spec = SCALER_SCHEMA.MetricSpec(metricName=METRIC, targetSize=math.ceil(target), targetSizeFloat=target)
    return _bytes(SCALER_SCHEMA.GetMetricSpecResponse(metricSpecs=[spec]))


def write_metrics(asked: AskedLoad, value: int) -> bytes:
    """A GetMetricsResponse, under the name that was asked for, because KEDA may have put a prefix before it."""
    found = SCALER_SCHEMA.MetricValue(metricName=asked.metric, metricValue=value, metricValueFloat=float(value))
    return _bytes(SCALER_SCHEMA.GetMetricsResponse(metricValues=[found]))


def _asked(reference: Any, metric: str) -> AskedLoad:
    told = reference.scalerMetadata
    return AskedLoad(app=told.get("appId") or None, target=_target(told.get("target", "")), metric=metric)


def _target(text: str) -> float:
    if not text:
        return TARGET
    try:
        target = float(text)
    except ValueError:
        target = math.nan
    if not 0 < target < math.inf:
        raise InvalidArgument(f"target is {text[:40]!r}; give a number above 0: what may wait for one replica")
    return target


def _bytes(message: Any) -> bytes:
    data: bytes = message.SerializeToString(deterministic=True)
    return data
