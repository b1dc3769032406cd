"""The document: valid, and of exactly the routes that there are."""

from __future__ import annotations

import re

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from perdure.errors import PerdureError
from perdure.remote.http import document, http_app
from perdure.remote.http.application import BLOCK_ROUTES
from perdure.remote.http.document import BLOCKS, FAULTS_OF_ALL
from perdure.remote.http.faults import fault_of
from perdure.remote.http.feed import PATH
from perdure.remote.http.operations import OPERATIONS
from perdure.remote.security import Policy, Token
from tests.remote.http.desk import RESOURCES, Desk, program, served

POLICY = Policy(app_id="desk")


def every_error(kind=PerdureError):
    return {kind}.union(*(every_error(one) for one in kind.__subclasses__()))


@pytest.mark.parametrize("token", [None, "secret"])
def test_it_is_valid(run, url, token):
    async def scenario():
        async with served(url, token=token) as (browser, _):
            return await browser.get("/openapi.json", headers={"dapr-api-token": token} if token else {})

    answer = run(scenario)
    assert answer.headers["content-type"] == "application/json"
    policy = Policy(app_id="desk", api_token=Token(token) if token else None)
    assert answer.json() == document(
        policy, {name: [one.name for one in RESOURCES.block(block)] for name, block in BLOCKS.items()}
    )
    OpenAPIV31SpecValidator(answer.json()).validate()


def test_it_describes_the_routes_and_no_others(run, url):
    async def scenario():
        async with program(url) as app:
            return http_app(Desk(app, None, lambda gateway: gateway)).routes

    routed = {(route.path, method) for route in run(scenario) for method in route.methods - {"HEAD"}}
    described = {(path, method.upper()) for path, methods in document(POLICY)["paths"].items() for method in methods}
    blocks = {(row.path, method) for row in BLOCK_ROUTES for method in row.methods}  # which Dapr's documents describe
    assert blocks < routed
    assert described == routed - {(PATH, "GET")} - blocks  # because no description can promise an answer without end
    assert len(described) == 3 * 7 + 11 + 8 + 3 + 2 + 2 * 3 + 2


def test_every_operation_has_an_id_of_its_own_and_names_the_parameters_of_its_path():
    ids = []
    for path, methods in document(POLICY)["paths"].items():
        for operation in methods.values():
            ids.append(operation["operationId"])
            named = [p["name"] for p in operation["parameters"] if p["in"] == "path"]
            assert named == re.findall(r"{(\w+)}", path)
    assert len(ids) == len(set(ids))
    assert {"startWorkflow", "startWorkflowBeta1", "startWorkflowAlpha1"} <= set(ids)


def test_only_health_and_scaling_need_no_token():
    def open_paths(policy):
        paths = document(policy)["paths"]
        return {path for path, methods in paths.items() for one in methods.values() if not one["security"]}

    healthz = "/v1.0/healthz"
    health = {healthz, f"{healthz}/live", f"{healthz}/outbound"}
    assert open_paths(Policy(app_id="desk", api_token=Token("x"))) == health | {"/v1.0/scaling"}
    assert open_paths(POLICY) == document(POLICY)["paths"].keys()


def test_other_apps_are_described_where_a_token_leads_to_them():
    def schema(policy):
        return document(policy)["paths"]["/v1.0/workflows/{workflowComponent}/{instanceID}"]["get"]["parameters"][2]

    assert schema(POLICY)["schema"] == {"enum": ["desk"]}
    assert schema(Policy(app_id="desk", all_apps_token=Token("x")))["schema"]["type"] == "string"


def test_every_status_that_an_error_has_is_described_somewhere():
    described = {*FAULTS_OF_ALL}.union(*(operation.faults for operation in OPERATIONS))
    for kind in every_error():
        error = kind("x", [ValueError()]) if issubclass(kind, ExceptionGroup) else kind.__new__(kind)
        error.instance_id = "a"  # because those whose maker wants more are made without it
        assert fault_of(error, "ERR").status in described, kind


def test_a_path_with_parameters_may_lead_nowhere_and_the_document_says_so():
    for path, methods in document(POLICY)["paths"].items():
        for operation in methods.values():
            assert "404" in operation["responses"] or "{" not in path
