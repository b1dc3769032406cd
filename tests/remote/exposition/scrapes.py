"""A scrape as Prometheus makes it, read by the official parser."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


class Scrape:
    """What one scrape gave."""

    def __init__(self, answer: httpx.Response) -> None:
        assert answer.status_code == 200, answer.text
        self.content_type = answer.headers["content-type"]
        read = read_openmetrics if "openmetrics" in self.content_type else read_text
        self.families = {family.name: family for family in read(answer.text)}

    def samples(self) -> Iterator[tuple[str, dict[str, str], float]]:
        for family in self.families.values():
            for sample in family.samples:
                yield sample.name, sample.labels, sample.value

    def value(self, name: str, **labels: str) -> float:
        """The sum of the samples of this name that have these labels; 0 for none."""
        return sum(value for found, has, value in self.samples() if found == name and labels.items() <= has.items())


async def scrape(url: str, accept: str = "text/plain", **headers: Any) -> Scrape:
    async with httpx.AsyncClient(trust_env=False) as browser:
        return Scrape(await browser.get(url, headers={"accept": accept, **headers}))
