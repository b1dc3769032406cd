"""The import contract that import-linter lacks: an allow-list of third-party packages."""

import sys
from typing import ClassVar, cast

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class OnlyDependsOn(Contract):
    """Modules of the root package import, from outside it, the standard library and `distributions` only.

    `apart_from` names rooms (with all that is in them) that the contract leaves alone; a room that
    does not exist is no error. A forbidden list would have to foresee every package; this one need not.
    """

    type_name: ClassVar[str] = "only_depends_on"

    distributions = fields.SetField(subfield=fields.StringField())
    apart_from = fields.SetField(subfield=fields.StringField(), required=False)

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Find every import of a package that is not allowed."""
        root = cast(str, self.session_options["root_packages"][0])
        allowed = {root, *sys.stdlib_module_names, *cast(set[str], self.distributions)}
        exempt = cast("set[str] | None", self.apart_from) or set()
        offences = [
            f"{module} imports {imported}"
            for module in sorted(graph.modules)
            if _package(module) == root and not _inside(module, exempt)
            for imported in sorted(graph.find_modules_directly_imported_by(module))
            if _package(imported) not in allowed
        ]
        return ContractCheck(kept=not offences, metadata={"offences": offences})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print one line per forbidden import."""
        for offence in check.metadata["offences"]:
            output.print_error(offence)


def _package(module: str) -> str:
    return module.partition(".")[0]


def _inside(module: str, rooms: set[str]) -> bool:
    return any(module == room or module.startswith(f"{room}.") for room in rooms)
