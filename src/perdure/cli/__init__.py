"""The command `perdure`: what a shell can ask of workflows. It alone needs the extra `perdure[cli]`."""

import sys


def main() -> None:
    """Run the command line of this process. Ends in SystemExit; `docs/reference/cli.md` lists the codes."""
    try:
        import rich  # noqa: F401 only to see whether it is there
        import typer  # noqa: F401
    except ImportError:
        print('The command line needs typer and rich: pip install "perdure[cli]"', file=sys.stderr)
        raise SystemExit(2) from None
    from perdure.cli.program import run

    run()
