"""The metrics of an app as a page that Prometheus reads, by itself or as an ASGI application."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from typing import Any

from perdure.errors import InvalidArgument, NotOpen
from perdure.remote.exposition.families import FAMILIES, Family, Kind
from perdure.remote.exposition.source import Source, Sources, namespace
from perdure.telemetry.metrics import Histogram

try:
    from prometheus_client import CollectorRegistry, Metric
    from prometheus_client.exposition import choose_encoder
    from prometheus_client.metrics_core import HistogramMetricFamily
    from prometheus_client.process_collector import ProcessCollector
    from prometheus_client.registry import Collector
except ImportError as error:
    raise InvalidArgument(
        f'metrics are written by prometheus-client: pip install "perdure[metrics]" ({error})'
    ) from error

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class MetricsPage:
    """Answers scrapes of one app. It is an ASGI application, too: mount it where you like."""

    def __init__(self, sources: Sources, app: str) -> None:
        self._sources = sources
        self._app = app

    async def text(self) -> str:
        """What there is now, in Prometheus' own format. Raises NotOpen."""
        body, _ = await self.answer()
        return body.decode()

    async def answer(self, accept: str = "") -> tuple[bytes, str]:
        """The same as an answer, and its content type: OpenMetrics if `accept` asks for it. Raises NotOpen."""
        source = await self._sources.source(self._app)
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Readings(source))
        ProcessCollector(registry=registry)
        encode, content_type = choose_encoder(accept)
        return encode(registry), content_type

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, whatever its path. While the app is not open the answer is 503."""
        if scope["type"] != "http":
            return
        headers = dict(scope["headers"])
        try:
            status, (body, kind) = 200, await self.answer(headers.get(b"accept", b"").decode("latin-1"))
        except NotOpen as error:
            status, body, kind = 503, str(error).encode(), "text/plain; charset=utf-8"
        start = {"type": "http.response.start", "status": status, "headers": [(b"content-type", kind.encode())]}
        await send(start)
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    def __repr__(self) -> str:
        return f"<MetricsPage of {self._app}>"


class _Readings(Collector):
    """The table, filled from one source."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def collect(self) -> Iterable[Metric]:
        shared = self._source.shared
        for family in FAMILIES:
            metric = _metric(family, self._source)
            if shared is not None and family.is_of_topics:
                metric.samples += _metric(family, shared).samples
            yield metric


def _metric(family: Family, source: Source) -> Metric:
    always = (source.app, namespace()) if family.is_dapr else (source.app,)
    if family.kind is Kind.HISTOGRAM:
        histograms = HistogramMetricFamily(family.name, family.help, labels=family.all_labels)
        for labels, value in family.read(source):
            assert isinstance(value, Histogram)
            histograms.add_metric((*always, *labels), list(_buckets(value, family.unit)), value.total / family.unit)
        return histograms
    metric = Metric(family.name, family.help, family.kind)
    name = family.name + "_total" if family.kind is Kind.COUNTER else family.name
    for labels, value in family.read(source):
        assert not isinstance(value, Histogram)
        metric.add_sample(name, dict(zip(family.all_labels, (*always, *labels), strict=True)), value)
    return metric


def _buckets(histogram: Histogram, unit: int) -> Iterator[tuple[str, float]]:
    """Cumulative, as Prometheus has them."""
    count = 0
    for bound, own in zip((*histogram.bounds, None), list(histogram.counts), strict=True):
        count += own
        yield "+Inf" if bound is None else repr(bound / unit), count
