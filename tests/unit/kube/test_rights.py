import pytest
from structlog.testing import capture_logs

from resizer.kube.answer import error_of, printable, retry_after_s
from resizer.kube.rights import REQUIRED_FOR_ELECTION, Rights
from resizer.model import errors


def denied(verb, resource):
    return (
        f'{resource} is forbidden: User "sa" cannot {verb} resource "{resource}" in API group "" in the namespace "n"'
    )


def refuse(rights, verb, resource, *, group="", namespace="n", message=""):
    rights.refused(
        verb=verb, group=group, resource=resource, namespace=namespace, message=message or denied(verb, resource)
    )


def test_a_missing_required_right_is_said_once_with_the_rule_to_add():
    """The log and the state carry verb, resource and the line for the manifest."""
    rights = Rights()
    with capture_logs() as logs:
        refuse(rights, "patch", "persistentvolumeclaims/status")
        refuse(rights, "patch", "persistentvolumeclaims/status")
    [entry] = logs
    rule = '- {apiGroups: [""], resources: ["persistentvolumeclaims/status"], verbs: ["patch"]}'
    assert entry["log_level"] == "error"
    assert entry["next"].endswith(rule)
    [state] = rights.state()
    assert (state["verb"], state["resource"], state["required"]) == ("patch", "persistentvolumeclaims/status", True)
    assert "ClusterRole" in state["next"]


@pytest.mark.parametrize(
    ("verb", "resource", "group"),
    [
        ("list", "pods", ""),
        ("patch", "pods/status", ""),
        ("create", "events", ""),
        ("get", "secrets", ""),
        ("list", "volumeattachments", "storage.k8s.io"),
    ],
)
def test_an_optional_right_turns_one_feature_off_and_readiness_not_red(verb, resource, group):
    """What is optional is a warning that names the feature."""
    rights = Rights()
    with capture_logs() as logs:
        refuse(rights, verb, resource, group=group)
    assert rights.missing(required_only=True) == []
    assert logs[0]["log_level"] == "warning"
    assert logs[0]["off"]
    assert rights.is_missing(verb, resource, namespace="n")


def test_a_right_that_is_granted_later_is_no_longer_missing():
    """A success clears it, and a second loss is said again."""
    rights = Rights()
    refuse(rights, "list", "persistentvolumes", namespace="")
    rights.granted(verb="list", resource="persistentvolumes", namespace="")
    assert rights.missing() == []
    with capture_logs() as logs:
        refuse(rights, "list", "persistentvolumes", namespace="")
    assert len(logs) == 1


def test_a_refusal_by_quota_or_admission_is_no_missing_right():
    """403 of an admission plugin has nothing to do with RBAC."""
    rights = Rights()
    refuse(rights, "create", "events", message='events "x" is forbidden: exceeded quota: q')
    assert rights.missing() == []


def test_leases_are_required_when_electing():
    """Without election nobody needs leases; with it they must be there, in their namespace's Role."""
    rights = Rights()
    rights.require(REQUIRED_FOR_ELECTION)
    refuse(rights, "update", "leases", group="coordination.k8s.io", namespace="kube-csi")
    [right] = rights.missing(required_only=True)
    assert "a Role in namespace kube-csi" in right.advice


def test_what_is_remembered_is_bounded():
    """A thousand namespaces without secrets do not fill the memory."""
    rights = Rights()
    for number in range(1000):
        refuse(rights, "get", "secrets", namespace=f"n{number}")
    assert len(rights.missing()) == 100


@pytest.mark.parametrize(
    ("status", "reason", "kind"),
    [
        (400, "BadRequest", errors.InvalidError),
        (401, "Unauthorized", errors.UnauthorizedError),
        (403, "Forbidden", errors.ForbiddenError),
        (404, "NotFound", errors.NotFoundError),
        (409, "Conflict", errors.ConflictError),
        (409, "AlreadyExists", errors.AlreadyExistsError),
        (410, "Expired", errors.ExpiredError),
        (422, "Invalid", errors.InvalidError),
        (429, "TooManyRequests", errors.ThrottledError),
        (500, "InternalError", errors.UnavailableError),
        (503, "", errors.UnavailableError),
        (302, "", errors.UnavailableError),
        (418, "", errors.UnavailableError),
    ],
)
def test_every_status_is_one_error_of_the_family(status, reason, kind):
    """Nothing outside the closed family leaves kube, and the error knows what was asked."""
    body = b'{"message":"no\\nway","reason":"%s"}' % reason.encode()
    error = error_of(status, body, wait_s=7, verb="patch", resource="x", name="a/b")
    assert type(error) is kind
    assert (str(error), error.status) == ("patch x a/b: no way", status)
    if isinstance(error, errors.ThrottledError):
        assert error.retry_after_s == 7


@pytest.mark.parametrize(
    ("text", "wait_s"),
    [("7", 7), (" 7 ", 7), ("", 0), ("-1", 0), ("1.5", 0), ("\u0667", 0), ("Sat, 01 Jan 2028 00:00:00 GMT", 0)],
)
def test_what_retry_after_may_say(text, wait_s):
    """Whole seconds, or nothing that is obeyed."""
    assert retry_after_s(text) == wait_s


def test_an_answer_that_is_no_status_still_gives_a_message():
    """A proxy's HTML becomes a plain sentence."""
    error = error_of(502, b"<html>", wait_s=0, verb="get", resource="x")
    assert str(error) == "get x: the server answered 502"
    assert len(printable("x" * 5000)) == 1024
