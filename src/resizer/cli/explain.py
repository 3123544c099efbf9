"""`resizer explain CLAIM`: why is it not growing? The first thing that blocks, the next step, and what was looked at.

Reads the cluster with the person's own rights (`explain_reader`) and leaves the judgement to `resizer.explain`, which
is pure. The controller need not run: that it does not may be the answer.
"""

from typing import TYPE_CHECKING, Annotated, Final

import typer

from resizer.cli.status_session import (
    DONE,
    Context,
    Document,
    Kubeconfig,
    Namespace,
    Place,
    UsageError,
    opened,
    run,
)

if TYPE_CHECKING:
    from resizer.explain.finding import Explanation

EPILOG = (
    "Exit codes: 0 explained (whatever the answer), 1 the claim or the cluster could not be read, 2 wrong usage. "
    "With -o json, `cause` is a stable short name: see docs/commands.md."
)
_MARKS: Final = {"ok": "ok", "blocks": "BLOCKS", "waits": "waits", "unknown": "?", "skipped": "-"}


def explain(
    *,
    claim: Annotated[str, typer.Argument(help="The claim: its name, or pvc/NAME.")],
    namespace: Namespace = "",
    output: Document = "",
    service_account: Annotated[
        str, typer.Option(help="Also ask whether this ServiceAccount (NAMESPACE/NAME, the resizer's) may grow claims.")
    ] = "",
    context: Context = "",
    kubeconfig: Kubeconfig = None,
) -> None:
    """Say why a claim is not growing: the first thing that blocks, and the next step."""
    run("explain", _explain(Place(namespace, context, kubeconfig), claim, output=output, account=service_account))


async def _explain(place: Place, text: str, *, output: str, account: str) -> int:
    from resizer.cli.explain_reader import read_facts
    from resizer.cli.status import claim_name
    from resizer.explain.explanation import explain as explain_facts

    name = claim_name(text)
    if output not in ("", "json", "yaml"):
        raise UsageError(f"-o {output} is not known; write json or yaml")
    if account and not all(account.partition("/")):
        raise UsageError(f"--service-account {account}: write NAMESPACE/NAME")
    async with opened(place) as session:
        claim = await session.reader.claim(session.namespace, name)
        found = explain_facts(await read_facts(session.reader, claim, account=account))
    typer.echo(_document(found, output) if output else _text(found))
    return DONE


def _document(found: "Explanation", output: str) -> str:
    import msgspec

    from resizer.cli.status_table import dump

    return dump(msgspec.to_builtins(found), output)


def _text(found: "Explanation") -> str:
    from resizer.model.quantity import format_bytes

    sizes = f"{format_bytes(found.from_bytes)} -> {format_bytes(found.to_bytes)}"
    head = f"{found.claim}   {sizes}   {found.phase}   {found.driver or 'no driver'}"
    width = max(len(check.subject) for check in found.checks)
    lines = [f"  {_MARKS[check.result]:6}  {check.subject:{width}}  {check.text}" for check in found.checks]
    unseen = [f"  not seen: {text}" for text in found.unreadable]
    verdict = {"blocked": "Blocked", "waiting": "Waiting", "nothing-asked": "Nothing to do"}[found.verdict]
    return "\n".join(
        [head, "", f"{verdict} ({found.cause}): {found.says}", f"Next: {found.next_step}", "", *lines, *unseen]
    )
