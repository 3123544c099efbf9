"""Access reviews and token requests: questions that are posted like objects, but never stored."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

from resizer.devcluster.apiserver.failure import ApiError, unknown_path
from resizer.devcluster.apiserver.identity import Tokens, User, service_account
from resizer.devcluster.apiserver.rbac import Authorizer
from resizer.devcluster.apiserver.request import Attributes
from resizer.devcluster.apiserver.resource import Document

REVIEW_GROUPS = frozenset({"authorization.k8s.io", "authentication.k8s.io"})


class Reviews:
    """Answers the reviews of both groups."""

    def __init__(self, authorizer: Authorizer, tokens: Tokens, *, now: Callable[[], dt.datetime]) -> None:
        self._authorizer = authorizer
        self._tokens = tokens
        self._now = now

    def answer(self, asked: Attributes, body: Document, user: User) -> Document:
        """Answer a posted review."""
        spec = body.get("spec") or {}
        kinds: dict[str, Callable[[], Document]] = {
            "selfsubjectaccessreviews": lambda: self._access(user, spec),
            "subjectaccessreviews": lambda: self._access(_subject(spec), spec),
            "localsubjectaccessreviews": lambda: self._access(_subject(spec), spec),
            "selfsubjectrulesreviews": lambda: self._rules(user, str(spec.get("namespace", ""))),
            "selfsubjectreviews": lambda: {"userInfo": {"username": user.name, "groups": list(user.groups)}},
            "tokenreviews": lambda: self._token(str(spec.get("token", ""))),
        }
        answer = kinds.get(asked.plural)
        if answer is None:
            raise unknown_path()
        review = {"metadata": {}, **body, "status": answer()}
        review["metadata"] = {k: v for k, v in (body.get("metadata") or {}).items() if v is not None}
        return review

    def issue_token(self, namespace: str, name: str, body: Document) -> Document:
        """Answer a TokenRequest for a ServiceAccount."""
        lifetime_s = float((body.get("spec") or {}).get("expirationSeconds") or 3600)
        token = self._tokens.issue(service_account(namespace, name), lifetime_s=lifetime_s)
        end = self._now() + dt.timedelta(seconds=lifetime_s)
        status = {"token": token, "expirationTimestamp": end.strftime("%Y-%m-%dT%H:%M:%SZ")}
        first = {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "metadata": {"name": name}}
        return {**first, "spec": {"expirationSeconds": int(lifetime_s), **(body.get("spec") or {})}, "status": status}

    def _access(self, user: User, spec: Document) -> Document:
        if "nonResourceAttributes" in spec:
            what = spec["nonResourceAttributes"]
            asked = Attributes(verb=what.get("verb", ""), path=what.get("path", ""))
        else:
            what = spec.get("resourceAttributes") or {}
            asked = Attributes(
                verb=what.get("verb", ""),
                group=what.get("group", ""),
                plural=what.get("resource", "") or "-",
                subresource=what.get("subresource", ""),
                namespace=what.get("namespace", ""),
                name=what.get("name", ""),
            )
        reason = self._authorizer.reason_to_allow(user, asked)
        if reason is None:
            return {"allowed": False}
        return {"allowed": True, "reason": reason} if reason else {"allowed": True}

    def _rules(self, user: User, namespace: str) -> Document:
        rules = self._authorizer.rules_of(user, namespace)
        return {
            "resourceRules": [rule for rule in rules if "resources" in rule],
            "nonResourceRules": [rule for rule in rules if "nonResourceURLs" in rule],
            "incomplete": False,
        }

    def _token(self, token: str) -> Document:
        try:
            user = self._tokens.user({"Authorization": f"Bearer {token}"})
        except ApiError:
            return {"authenticated": False}
        return {"authenticated": True, "user": {"username": user.name, "groups": list(user.groups)}}


def _subject(spec: Document) -> User:
    return User(str(spec.get("user", "")), tuple(spec.get("groups") or ()))
