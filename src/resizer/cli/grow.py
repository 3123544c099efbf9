"""`resizer grow`: make many claims ask for more, after a plan that is checked as a whole, and wait for them.

Nothing is changed while anything of the plan is refused. Then one claim after the other is asked for; Ctrl-C stops
that, and says what was asked for already: a growth that was asked for goes on, for it is in the claim.
"""

import asyncio
import contextlib
import re
import signal
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from resizer.cli.status_session import (
    DONE,
    FAILED,
    INTERRUPTED,
    USAGE,
    Context,
    Document,
    FailedError,
    Kubeconfig,
    Namespace,
    Place,
    Selector,
    Session,
    UsageError,
    opened,
    run,
)
from resizer.model.errors import ApiError
from resizer.model.objects import Claim

if TYPE_CHECKING:
    from resizer.cli.grow_plan import Growth, Plan
    from resizer.cli.grow_run import Display, GrowRun

EPILOG = (
    "Exit codes: 0 all asked for (with --wait: all grown), 1 something failed or timed out, 2 nothing was changed: "
    "wrong usage or a plan that is refused, 130 stopped by Ctrl-C; what was asked for by then goes on growing."
)
_STATEFUL_SETS: Final = ("statefulset", "statefulsets", "sts")


class Choice:
    """Which claims, how far, and how: the command's arguments, checked."""

    def __init__(self, targets: list[str], selector: str, growth: "Growth", *, most: int, timeout_s: float) -> None:
        if bool(targets) == bool(selector):
            raise UsageError("name claims or statefulset/NAME, or choose claims by -l SELECTOR, one of them")
        self.targets = targets
        self.selector = selector
        self.growth = growth
        self.most = most
        self.timeout_s = timeout_s


def grow(
    *,
    targets: Annotated[
        list[str] | None, typer.Argument(metavar="[CLAIM | statefulset/NAME]...", help="Claims, or a set's claims.")
    ] = None,
    to: Annotated[str, typer.Option(help="The new size, as 400Gi.")] = "",
    by: Annotated[str, typer.Option(help="How much more: a part (20%, up to whole MiB) or a size (50Gi).")] = "",
    selector: Selector = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan with bytes; change nothing.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until each claim has grown.")] = False,
    max_parallel: Annotated[int, typer.Option(min=1, help="With --wait: so many grow at once at most.")] = 10,
    keep_going: Annotated[bool, typer.Option("--keep-going", help="Go on with the others after a failure.")] = False,
    timeout: Annotated[str, typer.Option(help="With --wait: how long altogether, as 10m; 0 is for ever.")] = "0",
    output: Document = "",
    namespace: Namespace = "",
    context: Context = "",
    kubeconfig: Kubeconfig = None,
) -> None:
    """Grow claims: make them ask for more, after a plan, with progress and a wait."""
    place = Place(namespace, context, kubeconfig)

    async def work() -> int:
        from resizer.cli.grow_plan import read_growth
        from resizer.model.flag_value import parse_duration

        if output not in ("", "json", "yaml") or (output and not dry_run):
            raise UsageError(f"-o {output}: the plan of --dry-run can be printed as json or yaml")
        try:
            growth, timeout_s = read_growth(to, by), parse_duration(timeout)
        except ValueError as error:
            raise UsageError(str(error)) from error
        choice = Choice(targets or [], selector, growth, most=max_parallel, timeout_s=timeout_s)
        async with opened(place) as session:
            plan = await _plan(session, choice)
            if dry_run or plan.refusals:
                return _show(plan, output, is_dry=dry_run)
            return await _carry_out(session, plan, choice, is_waiting=wait, is_persistent=keep_going)

    run("grow", work())


async def _plan(session: Session, choice: Choice) -> "Plan":
    """Read what the plan depends on, and make it. What the person may not read refuses nothing: the server will."""
    from resizer.cli.explain_reader import read_class, read_quotas
    from resizer.cli.grow_plan import make_plan
    from resizer.explain.facts import ClassFacts, Quota

    claims = await _claims(session, choice)
    classes: dict[str, ClassFacts | None] = {}
    quotas: dict[str, tuple[Quota, ...]] = {}
    for claim in claims:
        name = claim.storage_class
        if name not in classes:
            classes[name] = None
            with contextlib.suppress(ApiError):
                classes[name] = await read_class(session.reader, name)
            with contextlib.suppress(ApiError):
                quotas[name] = await read_quotas(session.reader, claim)
    return make_plan(claims, choice.growth, classes=classes, quotas=quotas)


async def _claims(session: Session, choice: Choice) -> list[Claim]:
    """Return the claims that are meant, each once. Raises FailedError when there are none."""
    from resizer.cli.status import claim_name

    if choice.selector:
        found = await session.reader.claims(session.namespace, selector=choice.selector)
        if not found:
            raise FailedError(f"no claim in namespace {session.namespace} matches -l {choice.selector}")
        return sorted(found, key=lambda claim: claim.name)
    by_name: dict[str, Claim] = {}
    for target in choice.targets:
        kind, _, name = target.partition("/")
        if kind in _STATEFUL_SETS and name:
            by_name |= {claim.name: claim for claim in await _claims_of_set(session, name)}
        else:
            plain = claim_name(target)
            by_name[plain] = await session.reader.claim(session.namespace, plain)
    return list(by_name.values())


async def _claims_of_set(session: Session, name: str) -> list[Claim]:
    """Return a StatefulSet's claims: TEMPLATE-SET-ORDINAL, also those of replicas that are scaled away."""
    from resizer.cli.status_reader import document, part
    from resizer.kube.resource import Resource

    sets = Resource("apps", "v1", "statefulsets")
    found = await session.reader.get(sets, document, namespace=session.namespace, name=name)
    templates = part(found, "spec").get("volumeClaimTemplates")
    names = [str(part(entry, "metadata").get("name", "")) for entry in templates] if isinstance(templates, list) else []
    either = "|".join(re.escape(template) for template in names if template)
    pattern = re.compile(f"(?:{either})-{re.escape(name)}-([0-9]+)") if either else None
    claims = [c for c in await session.reader.claims(session.namespace) if pattern and pattern.fullmatch(c.name)]
    if not claims:
        raise FailedError(f"statefulset/{name} in namespace {session.namespace} has no claims")
    typer.echo(
        f"statefulset/{name}: its volumeClaimTemplates keep the old size (Kubernetes does not let them change); "
        "replicas added later start with that",
        err=True,
    )
    return sorted(claims, key=lambda claim: (claim.name.rpartition("-")[0], int(claim.name.rpartition("-")[2])))


def _show(plan: "Plan", output: str, *, is_dry: bool) -> int:
    from resizer.cli.grow_plan import document_of, lines_of
    from resizer.cli.status_table import dump

    if is_dry:
        typer.echo(dump(document_of(plan), output) if output else "\n".join(lines_of(plan)))
    for refusal in plan.refusals:
        typer.echo(f"resizer grow: {refusal}", err=True)
    if plan.refusals:
        typer.echo("resizer grow: nothing was changed", err=True)
    return USAGE if plan.refusals else DONE


async def _carry_out(session: Session, plan: "Plan", choice: Choice, *, is_waiting: bool, is_persistent: bool) -> int:
    from rich.console import Console

    from resizer.cli.grow_display import Bars, Lines
    from resizer.cli.grow_run import GrowRun

    console = Console(stderr=True)
    with contextlib.ExitStack() as stack:
        display: Display = Lines()
        if is_waiting and console.is_terminal:
            display = stack.enter_context(Bars(console, claims=len(plan.entries)))
        grown = GrowRun(session, plan.entries, display=display, is_persistent=is_persistent, most=choice.most)
        code = await _until_stopped(_work(session, grown, choice, is_waiting=is_waiting))
    _sum_up(grown, is_waiting=is_waiting, code=code)
    return FAILED if code == DONE and grown.failed else code


async def _work(session: Session, grown: "GrowRun", choice: Choice, *, is_waiting: bool) -> int:
    from resizer.cli.status_follow import following

    if not is_waiting:
        await grown.ask_all()
        return DONE
    try:
        async with asyncio.timeout(choice.timeout_s or None):
            async with following(session.transport, namespace=session.namespace, selector=choice.selector) as follower:
                await grown.grow_all(follower)
    except TimeoutError:
        typer.echo(f"resizer grow: not done within {choice.timeout_s:g}s", err=True)
        return FAILED
    return DONE


async def _until_stopped(work: Coroutine[Any, Any, int]) -> int:
    """Do the work until it ends, or until Ctrl-C (or SIGTERM) stops it."""
    task = asyncio.create_task(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        return INTERRUPTED
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def _sum_up(grown: "GrowRun", *, is_waiting: bool, code: int) -> None:
    """Say how far it came, so that nobody has to guess what was asked for."""
    if code == INTERRUPTED:
        typer.echo("resizer grow: stopped; what was asked for goes on growing", err=True)
    told = [("asked for", grown.asked)]
    if is_waiting:
        told += [("grown", grown.grown), ("still growing", grown.under_way)]
    told += [("failed", list(grown.failed)), ("not begun", grown.not_begun)]
    if grown.asking:
        told.append(("perhaps asked for", [grown.asking]))
    is_plain = code == DONE and not grown.failed
    for what, names in told:
        if is_plain and what in ("asked for", "grown"):
            typer.echo(f"{what}: {len(names)}")
        elif names:
            typer.echo(f"{what}: {len(names)} ({', '.join(names)})", err=not is_plain)
