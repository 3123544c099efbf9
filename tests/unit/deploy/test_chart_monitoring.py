"""What the chart has for Prometheus and Grafana, and how the endpoint is served and scraped."""

import json

import yaml
from tools.render_manifests import ROOT

from resizer.cli.go_flags import parse_go_flags
from resizer.settings import load_settings
from tests.unit.deploy.chart import NEEDS_HELM, controllers, of_kind, rendered, value_set

pytestmark = NEEDS_HELM


def test_the_monitor_keeps_our_labels_and_the_rules_are_those_of_the_repository():
    """The monitor has honorLabels on; the alerts are deploy/prometheus with two addresses replaced."""
    documents = rendered(value_set("monitored"))
    [monitor] = of_kind(documents, "ServiceMonitor")
    [endpoint] = monitor["spec"]["endpoints"]
    assert (endpoint["honorLabels"], endpoint["path"]) == (True, "/resizer/metrics")
    [service] = of_kind(documents, "Service")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    expected = []
    for path in sorted((ROOT / "deploy/prometheus").glob("*.rules.yaml")):
        text = (
            path.read_text()
            .replace("docs.example.com", "docs.your.org")
            .replace("grafana.example.com", "grafana.your.org")
        )
        expected += yaml.safe_load(text)["groups"]
    [rule] = of_kind(documents, "PrometheusRule")
    assert rule["spec"]["groups"] == expected


def test_the_dashboards_are_those_of_the_repository():
    """One ConfigMap a dashboard, with the label that Grafana's sidecar looks for and the file's own content."""
    maps = [
        m for m in of_kind(rendered(value_set("monitored")), "ConfigMap") if m["metadata"]["namespace"] == "monitoring"
    ]
    files = sorted((ROOT / "deploy/grafana").glob("*.json"))
    assert len(maps) == len(files) == 3
    assert all(m["metadata"]["labels"]["grafana_dashboard"] == "1" for m in maps)
    shown = {name: json.loads(text) for m in maps for name, text in m["data"].items()}
    assert shown == {path.name: json.loads(path.read_text()) for path in files}


def test_the_agents_are_scraped_as_they_serve():
    """A monitor for each component: the agents' path and scheme are not those of the pipeline."""
    monitors = of_kind(rendered(value_set("node-agent")), "ServiceMonitor")
    services = of_kind(rendered(value_set("node-agent")), "Service")
    assert [m["metadata"]["name"] for m in monitors] == ["resizer", "resizer-node"]
    for monitor in monitors:
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        [service] = [s for s in services if wanted <= s["metadata"]["labels"].items()]
        assert service["metadata"]["name"] == monitor["metadata"]["name"]


REVIEWS = {"tokenreviews", "subjectaccessreviews"}


def test_with_tls_everybody_who_asks_speaks_it_and_tokens_may_be_reviewed():
    """Flags, secret, probes and monitor go together; the rights to review tokens come with the setting, else not."""
    documents = rendered(value_set("monitored"))
    [(_, pod, ours)] = controllers(documents)
    settings = load_settings(parse_go_flags([a for a in ours["args"][1:] if "config" not in a]).settings)
    [mount] = [m for m in ours["volumeMounts"] if settings.tls_cert_file.startswith(m["mountPath"])]
    [volume] = [v for v in pod["volumes"] if v["name"] == mount["name"]]
    assert volume["secret"] == {"secretName": "resizer-tls", "defaultMode": 0o440}
    assert pod["securityContext"]["fsGroup"] == ours["securityContext"]["runAsUser"]
    assert settings.debug_authentication
    assert ours["livenessProbe"]["httpGet"]["scheme"] == ours["readinessProbe"]["httpGet"]["scheme"] == "HTTPS"
    [monitor] = of_kind(documents, "ServiceMonitor")
    assert monitor["spec"]["endpoints"][0]["scheme"] == "https"
    for values, expected in ((value_set("monitored"), REVIEWS), (value_set("container"), set())):
        [role] = of_kind(rendered(values), "ClusterRole")
        rules = [rule for rule in role["rules"] if REVIEWS & set(rule["resources"])]
        assert {resource for rule in rules for resource in rule["resources"]} == expected
        assert all(rule["verbs"] == ["create"] for rule in rules)
