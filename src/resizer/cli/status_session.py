"""What `status`, `explain` and `grow` share: kubectl's flags, the way to the API server, and one line for each failure.

They run at a person's terminal with that person's rights, beside kubectl or as its plugin; the controller need not
run. Flags are kubectl's (`-n`, `-A`, `-l`, `-o`, `--context`, `--kubeconfig`), as kubectl hands them to plugins unread.
"""

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import structlog
import typer
from msgspec import Struct

from resizer.model.errors import ApiError, ForbiddenError, NotFoundError
from resizer.model.text import printable

if TYPE_CHECKING:
    from resizer.cli.status_reader import Reader
    from resizer.kube.transport import Transport

DONE: Final = 0
FAILED: Final = 1
USAGE: Final = 2
INTERRUPTED: Final = 130
CLOSE_S: Final = 0.02
LINE: Final = 1024
"""The longest text of others in one line of output, in characters."""


class UsageError(Exception):
    """What was asked for cannot be meant; nothing was done. One line."""


class FailedError(Exception):
    """It did not come to what was asked for. One line."""


class Place(Struct, frozen=True):
    """Where to look: which cluster, which namespace ("" is the context's own)."""

    namespace: str = ""
    context: str = ""
    kubeconfig: Path | None = None


def _unequal(value: str | None) -> str | None:
    """Take kubectl's `-n=db`, too: the flag library leaves the "=" in the value of a short flag."""
    return value.removeprefix("=") if value is not None else None


Namespace = Annotated[
    str, typer.Option("-n", "--namespace", callback=_unequal, help="Namespace; the context's own if left out.")
]
Context = Annotated[str, typer.Option("--context", help="Context of the kubeconfig.")]
Kubeconfig = Annotated[
    Path | None, typer.Option("--kubeconfig", help="Kubeconfig; $KUBECONFIG or ~/.kube/config if left out.")
]
Selector = Annotated[
    str, typer.Option("-l", "--selector", callback=_unequal, help="Label selector, as app=db or 'tier in (a,b)'.")
]
Output = Annotated[str, typer.Option("-o", "--output", callback=_unequal, help="Form: wide, json, yaml or name.")]
Document = Annotated[str, typer.Option("-o", "--output", callback=_unequal, help="Form: json or yaml.")]


@contextlib.asynccontextmanager
async def opened(place: Place) -> AsyncIterator["Session"]:
    """Connect for the block. Raises FailedError."""
    from resizer.cli.status_reader import Reader
    from resizer.kube.client import KubeClient, KubeOptions
    from resizer.kube.credentials import CredentialsError

    # A person reads answers, not the client's log; what fails is told by the command itself.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    options = KubeOptions(kubeconfig=place.kubeconfig, context=place.context, use_default_kubeconfig=True)
    try:
        client = await KubeClient.open(options)
    except CredentialsError as error:
        raise FailedError(printable(str(error), limit=LINE)) from error
    try:
        yield Session(client.transport, Reader(client.transport), namespace=place.namespace or client.namespace)
    finally:
        await client.close()
        # Closing a TLS connection takes the loop a few turns after aiohttp's close() (its documentation says so).
        await asyncio.sleep(CLOSE_S)


class Session:
    """A connection, and the namespace that is meant."""

    def __init__(self, transport: "Transport", reader: "Reader", *, namespace: str) -> None:
        self.transport = transport
        self.reader = reader
        self.namespace = namespace


def run(command: str, work: Coroutine[Any, Any, int]) -> None:
    """Run a command to its end and exit with its code; every failure is one line on standard error."""
    try:
        code = asyncio.run(work)
    except UsageError as error:
        _fail(command, str(error), USAGE)
    except FailedError as error:
        _fail(command, str(error), FAILED)
    except ApiError as error:
        _fail(command, describe(error), FAILED)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError:
        # Whoever read us (head, less) has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(DONE) from None
    else:
        raise typer.Exit(code)


def describe(error: ApiError) -> str:
    """One line of what the API server refused, and what to do about a missing right."""
    text = printable(str(error), limit=LINE)
    if isinstance(error, NotFoundError) and error.resource == "persistentvolumeclaims" and "/" in error.name:
        namespace, _, name = error.name.partition("/")
        return f"there is no claim {name} in namespace {namespace}; name another with -n"
    if isinstance(error, ForbiddenError) and "cannot" in error.message:
        return f"{text}; ask for the right to {error.verb} {error.resource}, or name another --namespace or --context"
    return text


def _fail(command: str, text: str, code: int) -> None:
    typer.echo(f"resizer {command}: {text}", err=True)
    raise typer.Exit(code) from None
