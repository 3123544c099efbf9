import pytest

from resizer.cli.notices import find_notices
from resizer.settings import load_settings


def said(environment=(), idle=(), **settings):
    notices = find_notices(load_settings(settings), tuple(idle), dict(environment))
    return [(notice.event, notice.subject, notice.is_warning) for notice in notices]


def test_ordinary_settings_say_nothing():
    """What is as it should be makes no noise, and gates that ask for what holds anyway are that."""
    gates = "AnnotateFsResize=true,RecoverVolumeExpansionFailure=true,VolumeAttributesClass=false"
    assert said({"PATH": "/bin", "RESIZER_WORKERS": "3", "RESIZER_IDENTITY": "a"}, feature_gates=gates) == []


@pytest.mark.parametrize("gate", ["AnnotateFsResize=false", "ReleaseLeaderElectionOnExit=false", "Nope=true"])
def test_a_gate_that_changes_nothing_is_said(gate):
    """Somebody who turns a gate learns that it did nothing."""
    assert said(feature_gates=gate) == [("gate.without_effect", gate, False)]


def test_an_unknown_variable_is_a_warning_with_the_nearest_name():
    """A mistyped variable is not passed over, in whatever case it is written."""
    (notice,) = find_notices(load_settings({}), (), {"RESIZER_WORKER": "3"})
    assert (notice.event, notice.subject, notice.is_warning) == ("setting.unknown", "RESIZER_WORKER", True)
    assert "RESIZER_WORKERS?" in notice.reason
    assert said({"resizer_bogus_thing": "1"}) == [("setting.unknown", "resizer_bogus_thing", True)]


def test_variables_that_kubernetes_adds_for_a_service_are_passed_over():
    """A Service named resizer or resizer-metrics in the namespace fills every pod's environment: no warning."""
    service = {
        "RESIZER_SERVICE_HOST": "10.0.0.1",
        "RESIZER_SERVICE_PORT": "8080",
        "RESIZER_SERVICE_PORT_HTTP": "8080",
        "RESIZER_PORT": "tcp://10.0.0.1:8080",
        "RESIZER_PORT_8080_TCP": "tcp://10.0.0.1:8080",
        "RESIZER_PORT_8080_TCP_ADDR": "10.0.0.1",
        "RESIZER_METRICS_SERVICE_HOST": "10.0.0.2",
        "RESIZER_METRICS_PORT_8080_TCP_PROTO": "tcp",
    }
    assert said(service) == []


def test_a_deprecated_name_and_an_unfilled_placeholder_are_said():
    """metrics-address works and is named; an address that kubelet did not fill in would be waited for for ever."""
    assert said(metrics_address=":8080") == [("flag.deprecated", "metrics-address", False)]
    assert said(csi_address="$(ADDRESS)") == [("setting.placeholder", "csi-address=$(ADDRESS)", True)]
