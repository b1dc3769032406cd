"""The option by which processes trace."""

from __future__ import annotations

from typing import Annotated

import typer

TraceSampleOption = Annotated[
    float | None,
    typer.Option(
        "--trace-sample",
        envvar="PERDURE_TRACE_SAMPLE",
        metavar="SHARE",
        help="Trace so many of all runs, 0 to 1, over OTLP as $OTEL_EXPORTER_OTLP_... say.",
    ),
]
