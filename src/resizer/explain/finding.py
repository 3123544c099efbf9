"""What an explanation consists of: checks, each with what was found, and the one that answers the question."""

from typing import Literal

from msgspec import Struct

Result = Literal["ok", "blocks", "waits", "unknown", "skipped"]
Verdict = Literal["blocked", "waiting", "nothing-asked"]


class Check(Struct, frozen=True):
    """One thing looked at. `cause` is a stable short name, there when it blocks or is waited for."""

    subject: str
    result: Result
    text: str
    cause: str = ""
    next_step: str = ""


class Explanation(Struct, frozen=True):
    """Why a claim is not growing: the first thing that blocks (or what is waited for), and what to do about it."""

    claim: str
    driver: str
    from_bytes: int
    to_bytes: int
    phase: str
    verdict: Verdict
    cause: str
    says: str
    next_step: str
    checks: tuple[Check, ...]
    unreadable: tuple[str, ...] = ()


def ok(subject: str, text: str) -> Check:
    """Nothing stands against the growth here."""
    return Check(subject, "ok", text)


def skip(subject: str, text: str) -> Check:
    """It does not matter now."""
    return Check(subject, "skipped", text)


def unknown(subject: str, text: str) -> Check:
    """It could not be found out."""
    return Check(subject, "unknown", text)


def block(subject: str, cause: str, text: str, next_step: str) -> Check:
    """The growth does not go on before somebody does something."""
    return Check(subject, "blocks", text, cause, next_step)


def wait(subject: str, cause: str, text: str, next_step: str) -> Check:
    """The growth goes on by itself."""
    return Check(subject, "waits", text, cause, next_step)
