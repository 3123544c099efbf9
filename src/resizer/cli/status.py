"""`resizer status`: what is being resized, and for one claim a wait until it has grown, as `kubectl rollout status`.

Reads claims, volumes and events with the person's own rights; the controller need not run. What the person may not
read is left open in the table and said once on standard error.
"""

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from resizer.cli.status_session import (
    DONE,
    FAILED,
    Context,
    FailedError,
    Kubeconfig,
    Namespace,
    Output,
    Place,
    Selector,
    Session,
    UsageError,
    describe,
    opened,
    run,
)
from resizer.model.errors import ApiError, NotFoundError
from resizer.model.objects import Claim, Volume

if TYPE_CHECKING:
    from resizer.explain.progress import Row

FEW = 20
"""So many volumes are read one by one; more than these by one list."""

EPILOG = (
    "Exit codes: 0 done (for one claim: it has what it asks for), 1 failed, refused or timed out, 2 wrong usage. "
    "RETRIES counts the failures that events tell of; there may have been more. NEXT is the time to the next try "
    "where a longer wait is recorded."
)


def status(
    *,
    claims: Annotated[
        list[str] | None, typer.Argument(metavar="[CLAIM]...", help="Claims; all that are being resized if left out.")
    ] = None,
    namespace: Namespace = "",
    all_namespaces: Annotated[bool, typer.Option("-A", "--all-namespaces", help="Claims of all namespaces.")] = False,
    selector: Selector = "",
    output: Output = "",
    watch: Annotated[
        bool | None,
        typer.Option("--watch/--no-watch", "-w", help="Go on printing changes; one claim is waited for anyway."),
    ] = None,
    timeout: Annotated[str, typer.Option(help="How long to wait for one claim, as 30s or 5m; 0 is for ever.")] = "0",
    context: Context = "",
    kubeconfig: Kubeconfig = None,
) -> None:
    """Show what is being resized; wait until one claim has grown."""
    place = Place(namespace, context, kubeconfig)
    run("status", _status(place, claims or [], (all_namespaces, selector, output), watch=watch, timeout=timeout))


async def _status(
    place: Place, names: list[str], which: tuple[bool, str, str], *, watch: bool | None, timeout: str
) -> int:
    from resizer.cli.status_table import FORMATS
    from resizer.model.flag_value import parse_duration

    everywhere, selector, output = which
    names = [claim_name(name) for name in names]
    if output not in FORMATS:
        raise UsageError(f"-o {output} is not known; write one of wide, json, yaml, name")
    if names and (everywhere or selector):
        raise UsageError("name claims, or choose them by -A or -l, not both")
    try:
        timeout_s = parse_duration(timeout)
    except ValueError as error:
        raise UsageError(f"--timeout {error}") from error
    async with opened(place) as session:
        if len(names) == 1 and not output and watch is not False:
            return await wait_grown(session, names[0], timeout_s=timeout_s)
        view = View(session, "" if everywhere else session.namespace, names=names, selector=selector)
        return await (_follow(view, output) if watch else _show(view, output))


def claim_name(text: str) -> str:
    """Take `data-0`, `pvc/data-0` and `persistentvolumeclaim/data-0`. Raises UsageError."""
    kind, slash, name = text.rpartition("/")
    if (slash and kind not in ("pvc", "persistentvolumeclaim", "persistentvolumeclaims")) or not name:
        raise UsageError(f"{text!r} is no claim; write its name, or pvc/NAME")
    return name


class View:
    """Makes the rows of the claims that are meant, with what else it may read of them."""

    def __init__(self, session: Session, namespace: str, *, names: list[str], selector: str) -> None:
        self.session = session
        self.namespace = namespace
        self.names = names
        self.selector = selector
        self._said: set[str] = set()

    async def claims(self) -> list[Claim]:
        """Read the claims. Raises ApiError."""
        reader = self.session.reader
        if self.names:
            return [await reader.claim(self.namespace, name) for name in self.names]
        return self.chosen(await reader.claims(self.namespace, selector=self.selector))

    def chosen(self, claims: Iterable[Claim]) -> list[Claim]:
        """Keep those that were named, or are being resized."""
        from resizer.explain.progress import is_growing

        if self.names:
            return [claim for claim in claims if claim.name in self.names]
        return [claim for claim in claims if is_growing(claim)]

    async def rows(self, claims: list[Claim]) -> "list[Row]":
        """Return the rows of these claims."""
        from resizer.cli.status_reader import now_s
        from resizer.csi.rules import load_known_rules
        from resizer.explain.facts import Facts
        from resizer.explain.progress import row_of

        volumes, events = await self._volumes(claims), {}
        if claims:
            try:
                one = claims[0].uid if len(claims) == 1 else ""
                events = await self.session.reader.events(claims[0].namespace if one else self.namespace, uid=one)
            except ApiError as error:
                self._say_once(f"failures and their reasons are not known: {describe(error)}")
        book, now = load_known_rules(), now_s()
        rows = []
        for claim in claims:
            volume = volumes.get(claim.volume_name)
            rules = book.rules_of(volume.driver) if volume is not None else ()
            facts = Facts(claim=claim, volume=volume, now_s=now, events=events.get(claim.uid, ()), rules=rules)
            rows.append(row_of(facts))
        return sorted(rows, key=lambda row: (row.namespace, row.name))

    async def _volumes(self, claims: list[Claim]) -> dict[str, Volume]:
        names = {claim.volume_name for claim in claims if claim.volume_name}
        reader, found = self.session.reader, {}
        try:
            if len(names) > FEW:
                return await reader.volumes()
            for name in sorted(names):
                try:
                    found[name] = await reader.volume(name)
                except NotFoundError:
                    continue
        except ApiError as error:
            self._say_once(f"drivers are not known: {describe(error)}")
        return found

    def _say_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            typer.echo(f"resizer status: {text}", err=True)


async def _show(view: View, output: str) -> int:
    from resizer.cli.status_reader import now_s
    from resizer.cli.status_table import Table, document_of, dump

    claims = await view.claims()
    if output == "name":
        for claim in claims:
            typer.echo(f"persistentvolumeclaim/{claim.name}")
        return DONE
    rows = await view.rows(claims)
    if output in ("json", "yaml"):
        typer.echo(dump({"items": [document_of(row) for row in rows]}, output))
        return DONE
    if not rows:
        where = f"in namespace {view.namespace}" if view.namespace else "in any namespace"
        typer.echo(f"Nothing is being resized {where}.", err=True)
        return DONE
    table = Table(wide=output == "wide")
    lines = table.lines(rows, now_s=now_s())
    typer.echo("\n".join([table.head(), *lines]))
    return DONE


async def _follow(view: View, output: str) -> int:
    """Print each row as it changes, for ever; what is done is printed once more, then forgotten."""
    from resizer.cli.status_follow import following
    from resizer.cli.status_reader import now_s
    from resizer.cli.status_table import Table, document_of, dump

    table = Table(wide=output == "wide", live=True)
    shown: dict[str, Row] = {}
    async with following(view.session.transport, namespace=view.namespace, selector=view.selector) as follower:
        is_first = True
        while True:
            claims = view.chosen(follower.claims())
            known = {claim.key for claim in claims}
            ended = [claim for key in shown.keys() - known if (claim := follower.claim(key)) is not None]
            rows = await view.rows([*claims, *ended])
            changed = [row for row in rows if shown.get(f"{row.namespace}/{row.name}") != row]
            shown = {f"{row.namespace}/{row.name}": row for row in rows if f"{row.namespace}/{row.name}" in known}
            lines = table.lines(changed, now_s=now_s())
            if output in ("json", "yaml"):
                head = "---\n" if output == "yaml" else ""
                lines = [head + dump(document_of(row), output) for row in changed]
            elif output == "name":
                lines = [f"persistentvolumeclaim/{row.name}" for row in changed]
            elif is_first:
                lines = [table.head(), *lines]
            is_first = False
            for line in lines:
                typer.echo(line)
            await follower.wait_change()


async def wait_grown(session: Session, name: str, *, timeout_s: float) -> int:
    """Wait until the claim has what it asks for, printing each phase. Raises FailedError when it will not."""
    try:
        async with asyncio.timeout(timeout_s or None):
            return await _wait_grown(session, name)
    except TimeoutError as error:
        text = f"claim {name} has not grown within {timeout_s:g}s"
        raise FailedError(
            f"{text}; what blocks it: kubectl volume-resize explain {name} -n {session.namespace}"
        ) from error


async def _wait_grown(session: Session, name: str) -> int:
    from resizer.cli.status_follow import following
    from resizer.explain.progress import find_phase, is_grown, is_refused

    key, said = f"{session.namespace}/{name}", ""
    async with following(session.transport, namespace=session.namespace, name=name) as follower:
        if follower.claim(key) is None:
            raise FailedError(f"there is no claim {name} in namespace {session.namespace}; name another with -n")
        while True:
            claim = follower.claim(key)
            if claim is None:
                raise FailedError(f"claim {name} was deleted while it was waited for")
            if is_grown(claim):
                typer.echo(
                    f'claim "{name}" has {claim.capacity}' + (", as asked for" if said else ", nothing to wait for")
                )
                return DONE
            if is_refused(claim):
                return await _tell_refused(session, claim)
            line = f'Waiting for claim "{name}" to grow from {claim.capacity or "0"} to {claim.requested}: '
            line += find_phase(claim, None)
            if line != said:
                typer.echo(line)
                said = line
            await follower.wait_change()


async def _tell_refused(session: Session, claim: Claim) -> int:
    view = View(session, session.namespace, names=[claim.name], selector="")
    row = (await view.rows([claim]))[0]
    why = f": {row.message}" if row.message else ""
    typer.echo(f'claim "{claim.name}" is not grown to {claim.requested}, it was refused{why}', err=True)
    typer.echo(f"what to do: kubectl volume-resize explain {claim.name} -n {claim.namespace}", err=True)
    return FAILED
