"""The chart: what Helm renders is what Kubernetes and KEDA take, starts, and opens nothing by itself."""

from __future__ import annotations

import socket
import ssl
import urllib.error
import urllib.request
from importlib import import_module

import pytest
import yaml

from perdure.cli.serving import CUT_SECONDS
from tests.cli.certificates import Authority
from tests.deploy.chart import (
    CHART,
    NAMESPACE,
    VERSIONS,
    Refused,
    container,
    helm,
    lay_out,
    one,
    option,
    pod,
    rendered,
    selected_labels,
    variables,
)
from tests.deploy.node import free_ports, started
from tests.deploy.places import REFUSED_BY_SCHEMA, VALUES, merged, of_the_page, read

pytestmark = pytest.mark.deploy
SETS = {file.stem: read(file) or {} for file in VALUES}
EACH = pytest.mark.parametrize("values", SETS.values(), ids=SETS.keys())
KEDA = {"ScaledObject", "TriggerAuthentication"}
SERVERS = {name: values for name, values in SETS.items() if values.get("run") != "app"}


def refusal(values, folder):
    with pytest.raises(Refused) as refused:
        rendered(values, folder)
    return str(refused.value)


# -- what takes it ---------------------------------------------------------------------------------------------------


@EACH
def test_the_linter_finds_nothing(values, tmp_path):
    assert "0 chart(s) failed" in helm("lint", "--strict", str(CHART), values=values, folder=tmp_path)


@pytest.mark.parametrize("version", VERSIONS)
@EACH
def test_kubernetes_takes_every_manifest(values, version, tmp_path):
    from kubernetes_validate import validate

    manifests = [each for each in rendered(values, tmp_path, version=version) if each["kind"] not in KEDA]
    assert {"Deployment", "NetworkPolicy", "PodDisruptionBudget", "ServiceAccount"} <= {m["kind"] for m in manifests}
    for manifest in manifests:
        assert validate(manifest, version, strict=True).startswith(version)


def test_kubernetes_would_not_take_a_wrong_one(tmp_path):
    from kubernetes_validate import ValidationError, validate

    deployment = one(rendered({}, tmp_path), "Deployment")
    for place in ({"replica": 2}, {"replicas": "two"}, {"template": {"spec": {"containers": [{"nome": "x"}]}}}):
        with pytest.raises(ValidationError):
            validate(merged(deployment, {"spec": place}), VERSIONS[0], strict=True)


@pytest.mark.parametrize("name", [name for name, values in SETS.items() if values.get("keda", {}).get("enabled")])
def test_keda_takes_its_resources(name, tmp_path):
    manifests = [each for each in rendered(SETS[name], tmp_path) if each["kind"] in KEDA]
    assert {each["kind"] for each in manifests} == KEDA
    for manifest in manifests:
        assert through_keda(manifest) == manifest  # the models leave out what they do not know


def test_keda_would_not_take_a_wrong_one(tmp_path):
    scaled = one(rendered(SETS["keda"], tmp_path), "ScaledObject")
    for spec in ({"minReplicas": 1}, {"pollingInterval": "often"}, {"triggers": [{"metadata": {}}]}):
        wrong = merged(scaled, {"spec": spec})
        try:
            assert through_keda(wrong) != wrong
        except ValueError:
            continue


def through_keda(manifest):
    """A resource as KEDA's models have read it."""
    models = import_module("cloudcoil.models.keda.v1alpha1")
    read_in = getattr(models, manifest["kind"]).model_validate(manifest)
    return read_in.model_dump(mode="json", by_alias=True, exclude_none=True)


@EACH
def test_what_chooses_pods_chooses_those_of_the_deployment(values, tmp_path):
    manifests = rendered(values, tmp_path)
    labels = one(manifests, "Deployment")["spec"]["template"]["metadata"]["labels"]
    chosen = dict(selected_labels(manifests))
    assert {"Deployment", "NetworkPolicy", "PodDisruptionBudget"} <= chosen.keys()
    assert all(wanted.items() <= labels.items() for wanted in chosen.values())


@EACH
def test_names_of_ports_and_volumes_lead_somewhere(values, tmp_path):
    manifests = rendered(values, tmp_path)
    ports = {port["name"] for port in container(manifests).get("ports", [])}
    asked = {port["targetPort"] for m in manifests if m["kind"] == "Service" for port in m["spec"]["ports"]}
    asked |= {
        port["port"] for rule in one(manifests, "NetworkPolicy")["spec"]["ingress"] for port in rule.get("ports", [])
    }
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        probe = container(manifests).get(name, {})
        asked |= {probe[how]["port"] for how in ("httpGet", "tcpSocket") if how in probe}
    assert asked <= ports
    mounts = [mount["name"] for mount in container(manifests)["volumeMounts"]]
    assert sorted(mounts) == sorted(volume["name"] for volume in pod(manifests)["volumes"])


# -- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("values, place", REFUSED_BY_SCHEMA, ids=str)
def test_what_cannot_be_meant_is_refused_with_its_place(values, place, tmp_path):
    told = refusal(values, tmp_path)
    assert "values don't meet the specifications of the schema" in told
    assert f"at '{place}'" in told


@pytest.mark.parametrize(
    "values, told",
    [
        ({"server": {"tls": {"secretName": ""}}}, "other pods could listen in: name a Secret"),
        ({"server": {"token": {"secretName": ""}}}, "anybody could call: name a Secret"),
        (
            {"server": {"allowInsecurePublic": True, "tls": {"secretName": "", "clientCaSecretName": "callers"}}},
            "server.tls.clientCaSecretName needs TLS",
        ),
        ({"server": {"grpcPort": 3500}}, "each has to differ"),
        ({"store": {"secretName": ""}}, "a server needs a store: name the Secret"),
        ({"autoscaling": {"enabled": True}, "keda": {"enabled": True}}, "enable one of them"),
        ({"autoscaling": {"enabled": True, "minReplicas": 11}}, "above autoscaling.maxReplicas"),
        ({"keda": {"enabled": True, "minReplicas": 11}}, "above keda.maxReplicas"),
        ({"keda": {"enabled": True, "minReplicas": 0}}, "keep one server with keda.minReplicas 1"),
        (
            {"keda": {"enabled": True}, "server": {"tls": {"clientCaSecretName": "callers"}}},
            "the server asks its callers for certificates, and KEDA is one",
        ),
        ({"run": "app", "keda": {"enabled": True}}, "give HOST:PORT of a `perdure serve`"),
    ],
    ids=str,
)
def test_values_that_do_not_go_together_are_refused_with_what_to_change(values, told, tmp_path):
    assert told in refusal(values, tmp_path)


def test_an_older_kubernetes_is_refused(tmp_path):
    with pytest.raises(Refused, match="requires kubeVersion"):
        rendered({}, tmp_path, version="1.29")


# -- what starts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("values", SERVERS.values(), ids=SERVERS.keys())
def test_the_server_starts_with_the_arguments_and_files_of_its_pod_and_its_probes_are_answered(values, tmp_path):
    authority = Authority(tmp_path)
    certificate = authority.signed("server")
    grpc, http = free_ports(2)
    own = {"server": {"grpcPort": grpc, "httpPort": http, "secretsPath": f"{tmp_path}/secrets"}}
    if values.get("server", {}).get("allowInsecurePublic"):
        own["server"]["host"] = "127.0.0.1"  # because this machine has no mesh around it
    manifests = rendered(merged(values, own), tmp_path)
    pair = {"tls.crt": certificate.cert.read_text(), "tls.key": certificate.key.read_text()}
    secrets = {
        "perdure-store": {"url": f"sqlite:///{tmp_path}/shop.db"},
        **{"perdure-tls": pair, "shop-tls": pair},
        **{"perdure-token": {"token": "own"}, "shop-token": {"api": "own"}, "shop-operator": {"token": "all"}},
        "shop-callers": {"ca.crt": authority.pem.decode()},
    }
    lay_out(manifests, secrets)
    probes = container(manifests)
    ports = {"grpc": grpc, "http": http}
    with started(container(manifests)["args"], variables(manifests, secrets), tmp_path) as node:
        told = node.wait_for("owner")
        assert (told["app"], told["grpc_port"], told["http_port"]) == ("shop", grpc, http)
        for name in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert is_answered(probes[name], ports), name
        assert node.stop() == 0
        assert not is_answered(probes["livenessProbe"], ports)


def is_answered(probe, ports):
    """Whether the kubelet would be content; it trusts any certificate and has none."""
    if "tcpSocket" in probe:
        with socket.socket() as asking:
            return asking.connect_ex(("127.0.0.1", ports[probe["tcpSocket"]["port"]])) == 0
    asked = probe["httpGet"]
    place = f"127.0.0.1:{ports[asked['port']]}{asked['path']}"
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(f"{asked['scheme'].lower()}://{place}", timeout=5) as answer:
            return 200 <= answer.status < 400
    except urllib.error.URLError:
        return False


def test_readiness_and_liveness_are_apart(tmp_path):
    """A pod that stands by gets no calls and is not started again."""
    told = container(rendered({}, tmp_path))
    assert told["readinessProbe"]["httpGet"]["path"] == "/v1.0/healthz"
    assert told["livenessProbe"]["httpGet"]["path"] == "/v1.0/healthz/live"


def test_the_worker_of_an_image_of_ones_own_starts(tmp_path):
    manifests = rendered(SETS["worker-to-zero"], tmp_path)
    (tmp_path / "orders.py").write_text("from perdure import App\napp = App('orders')\n")
    program, *arguments = container(manifests)["command"]
    assert program == "perdure"
    given = variables(manifests, {"perdure-store": {"url": f"sqlite:///{tmp_path}/orders.db"}})
    with started(arguments, given, tmp_path) as node:
        assert node.wait_for("owner")["app"] == option_of_scaler(manifests, "appId")
        assert node.stop() == 0


def option_of_scaler(manifests, name):
    (trigger,) = one(manifests, "ScaledObject")["spec"]["triggers"]
    return trigger["metadata"][name]


@pytest.mark.parametrize("pause, drain", [(5, 25), (0, 0), (30, 600)])
def test_a_pod_is_given_the_time_that_its_drain_takes(pause, drain, tmp_path):
    manifests = rendered({"pauseSeconds": pause, "drainSeconds": drain}, tmp_path)
    assert option(manifests, "drain-seconds") == str(drain)
    assert pod(manifests)["terminationGracePeriodSeconds"] > pause + drain + CUT_SECONDS
    assert ("lifecycle" in container(manifests)) == (pause > 0)


# -- what it opens ---------------------------------------------------------------------------------------------------


@EACH
def test_nothing_runs_as_root_or_writes_outside_its_folder(values, tmp_path):
    manifests = rendered(values, tmp_path)
    user, own = pod(manifests)["securityContext"], container(manifests)["securityContext"]
    assert (user["runAsNonRoot"], user["seccompProfile"]) == (True, {"type": "RuntimeDefault"})
    assert (own["readOnlyRootFilesystem"], own["allowPrivilegeEscalation"]) == (True, False)
    assert own["capabilities"] == {"drop": ["ALL"]}
    assert pod(manifests)["automountServiceAccountToken"] is False


@EACH
def test_no_secret_is_made_and_the_store_comes_from_one(values, tmp_path):
    manifests = rendered(values, tmp_path)
    assert "Secret" not in {manifest["kind"] for manifest in manifests}
    (store,) = (each for each in container(manifests)["env"] if each["name"] == "PERDURE_STORE")
    assert store["valueFrom"]["secretKeyRef"] == {"name": "perdure-store", "key": "url"}


def test_by_default_only_labelled_pods_come_in_and_only_names_and_the_store_are_reached(tmp_path):
    spec = one(rendered({}, tmp_path), "NetworkPolicy")["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    (rule,) = spec["ingress"]
    assert rule["from"] == [{"podSelector": {"matchLabels": {"perdure/client": "true"}}}]
    assert [[port["port"] for port in rule["ports"]] for rule in spec["egress"]] == [[53, 53], [5432]]


def test_peers_narrow_the_network(tmp_path):
    values = SETS["tls-and-tokens"]
    spec = one(rendered(values, tmp_path), "NetworkPolicy")["spec"]
    assert spec["ingress"][0]["from"] == values["networkPolicy"]["clients"]
    _, store = spec["egress"]
    assert (store["ports"], store["to"]) == ([{"port": 6432}], values["networkPolicy"]["store"]["to"])


@pytest.mark.parametrize("values", [SETS["keda"], SETS["mesh"]], ids=["own", "another's"])
def test_keda_comes_in_where_it_has_to_ask(values, tmp_path):
    _, keda = one(rendered(values, tmp_path), "NetworkPolicy")["spec"]["ingress"]
    assert keda["from"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "keda"}}}]
    assert keda["ports"] == [{"port": "grpc"}]


def test_a_worker_lets_nobody_in_and_a_program_goes_only_where_it_is_told(tmp_path):
    assert one(rendered(SETS["worker-to-zero"], tmp_path), "NetworkPolicy")["spec"]["ingress"] == []
    spec = one(rendered(SETS["embedded-app"], tmp_path), "NetworkPolicy")["spec"]
    assert [[port["port"] for port in rule["ports"]] for rule in spec["egress"]] == [[53, 53], [3306], [443]]


# -- how many --------------------------------------------------------------------------------------------------------


@EACH
def test_one_thing_says_how_many_replicas_there_are(values, tmp_path):
    manifests = rendered(values, tmp_path)
    said = [m["kind"] for m in manifests if m["kind"] in ("HorizontalPodAutoscaler", "ScaledObject")]
    said += ["Deployment"] if "replicas" in one(manifests, "Deployment")["spec"] else []
    assert len(said) == 1
    if said != ["Deployment"]:
        target = one(manifests, said[0])["spec"]["scaleTargetRef"]["name"]
        assert target == one(manifests, "Deployment")["metadata"]["name"]


def test_the_program_of_the_page_goes_to_zero(tmp_path):
    above, below = (yaml.safe_load(of_the_page("yaml", holds)) for holds in ("run: app", "scaler:"))
    manifests = rendered(merged(above, below), tmp_path)
    assert one(manifests, "ScaledObject")["spec"]["minReplicaCount"] == 0
    assert option_of_scaler(manifests, "scalerAddress") == "shop-perdure.default.svc:50001"


def test_a_server_is_scaled_by_what_it_tells_itself(tmp_path):
    manifests = rendered(SETS["keda"], tmp_path)
    (trigger,) = one(manifests, "ScaledObject")["spec"]["triggers"]
    service = one(manifests, "Service")
    host = f"{service['metadata']['name']}.{NAMESPACE}.svc"
    port = next(port["port"] for port in service["spec"]["ports"] if port["name"] == "grpc")
    assert trigger["metadata"] == {"scalerAddress": f"{host}:{port}", "appId": "shop", "target": "50"}
    assert trigger["authenticationRef"]["name"] == one(manifests, "TriggerAuthentication")["metadata"]["name"]
    (authority,) = one(manifests, "TriggerAuthentication")["spec"]["secretTargetRef"]
    assert authority == {"parameter": "caCert", "name": "perdure-tls", "key": "ca.crt"}


def test_keda_shows_a_certificate_where_the_server_asks_for_one(tmp_path):
    own = {"keda": {"enabled": True, "scaler": {"clientCertSecretName": "keda-client"}}}
    manifests = rendered(merged(SETS["tls-and-tokens"], own), tmp_path)
    given = one(manifests, "TriggerAuthentication")["spec"]["secretTargetRef"]
    assert {each["parameter"]: (each["name"], each["key"]) for each in given} == {
        "caCert": ("shop-tls", "ca.crt"),
        "tlsClientCert": ("keda-client", "tls.crt"),
        "tlsClientKey": ("keda-client", "tls.key"),
    }


def test_without_an_authority_of_its_own_the_scaler_is_asked_over_tls_all_the_same(tmp_path):
    values = merged(SETS["worker-to-zero"], {"keda": {"scaler": {"caSecretName": ""}}})
    manifests = rendered(values, tmp_path)
    assert option_of_scaler(manifests, "enableTLS") == "true"
    assert "TriggerAuthentication" not in {manifest["kind"] for manifest in manifests}


def test_a_mesh_is_asked_in_the_clear(tmp_path):
    values = merged(SETS["mesh"], {"keda": {"enabled": True}})
    (trigger,) = one(rendered(values, tmp_path), "ScaledObject")["spec"]["triggers"]
    assert trigger.keys() == {"type", "metadata"}
    assert trigger["metadata"].keys() == {"scalerAddress", "appId", "target"}


@pytest.mark.parametrize("name", ["defaults", "autoscaling"])
def test_a_rollout_and_a_drain_of_a_machine_leave_nodes_running(name, tmp_path):
    manifests = rendered(SETS[name], tmp_path)
    assert one(manifests, "Deployment")["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert one(manifests, "PodDisruptionBudget")["spec"]["maxUnavailable"] in (1, "25%")
