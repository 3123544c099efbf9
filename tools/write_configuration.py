"""Write docs/configuration.md from the settings themselves and from the comments of config/default.yaml.

`make docs` runs it, and a test fails while the page differs from what it would write. Names, kinds and defaults come
from `SETTINGS`; what a setting is for, and the sections, from the comments above each key in the file.
"""
# ruff: noqa: INP001 -- a script, not part of a package

import re
import sys
from pathlib import Path
from typing import Final

from resizer.cli.check_config import shown
from resizer.cli.go_flags import LOGGING_FORMAT, SWITCHES
from resizer.cli.idle_flags import IDLE_FLAGS
from resizer.cli.notices import GATES
from resizer.settings import SETTINGS

ROOT: Final = Path(__file__).parents[1]
SOURCE: Final = ROOT / "config" / "default.yaml"
PAGE: Final = ROOT / "docs" / "configuration.md"

_SECTION: Final = re.compile(r"# --- (.+?) -*")
_KEY: Final = re.compile(r"([a-z][a-z0-9-]*):")

HEAD: Final = """\
# Configuration

<!-- Written by `make docs` from src/resizer/settings/table.py and config/default.yaml: change those, not this page. -->

Every setting of `resizer run`. A setting has one name in three places, and the first of these that has it wins:

| place | written as |
| --- | --- |
| flag | `--retry-interval-max=10m`, in any of Go's spellings: `-v=5`, `--timeout 15s`, `--leader-election` |
| environment | `RESIZER_RETRY_INTERVAL_MAX=10m`: the name in capitals; an empty variable counts as none |
| file | `retry-interval-max: 10m` in the YAML file that `--config FILE` names; `config/default.yaml` has them all |

Durations are written as Go writes them (`300ms`, `15s`, `1h30m`); a bare number has no unit and is refused.

**Check before you roll out.** `resizer run --check-config` with your flags, environment and file prints every setting
with its value and where that came from, as YAML that is itself a configuration file, and ends with 0. It also looks at
what they point to (addresses, certificate, kubeconfig, rules of drivers), but connects to nothing. When something
cannot work it names every mistake, one line each, and ends with 2:

```
$ RESIZER_TIMEOUT=soon resizer run --check-config --config config.yaml --worker=3
resizer run: --worker is no flag; did you mean --workers?
resizer run: config.yaml, line 1: 'retry-max' is no setting; did you mean 'retry-interval-max'?
resizer run: timeout (environment RESIZER_TIMEOUT): 'soon' is not a duration: write it as 15s, 5m, 1h30m or 300ms
```

**Unknown names.** An unknown flag, and an unknown or repeated key in the file, is an error. An unknown `RESIZER_`
variable is a warning with the nearest name (`setting.unknown` in the log), because Kubernetes itself adds variables
such as `RESIZER_SERVICE_HOST` for a Service named `resizer`; those are passed over.

**Reload is by restart.** Settings are read once, at the start. A changed ConfigMap takes effect with `kubectl rollout
restart`; with two replicas and leader election the other takes over at once. SIGHUP ends the program in order, as
SIGTERM does, and says so (`settings.reload_by_restart`); the kubelet then starts the container with what the file says
now. Certificates and tokens are not settings: those files are read again when they are renewed.
"""

IDLE: Final = """\
## Flags without effect

These belong to external-resizer or to klog. They are taken, so that a manifest starts as it stands, with the values
that Go would take; each that is given is named once in the log with its reason (`flag.without_effect`).

| flag | why it changes nothing |
| --- | --- |
"""

GATE_HEAD: Final = """\
## Feature gates

| gate of external-resizer | here | why |
| --- | --- | --- |
"""

OTHERS: Final = """\
## Other variables

`RESIZER_IDENTITY` names this replica in the leases (else the host name). `RESIZER_NODE_NAME`, `RESIZER_KUBELET_DIR` and
`RESIZER_KUBECONFIG` are read by [`resizer node`](node-agent.md), which has flags of its own.
"""


def read_comments(text: str) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return the sections of the file of defaults, each with its keys and the comment above every key."""
    sections: list[tuple[str, list[tuple[str, str]]]] = []
    comment: list[str] = []
    for line in text.splitlines():
        section, key = _SECTION.fullmatch(line), _KEY.match(line)
        if section is not None:
            sections.append((section[1], []))
            comment = []
        elif key is not None:
            sections[-1][1].append((key[1], " ".join(comment)))
            comment = []
        else:
            comment = [*comment, line.removeprefix("#").strip()] if line.startswith("#") else []
    return sections


def describe_kind(name: str) -> str:
    """Say what a setting holds, for people: a duration, a switch, a number, one of some words."""
    kind = SETTINGS[name].kind
    return " or ".join(f"`{word}`" for word in kind.words) or kind.name


def write_page(text: str) -> str:
    """Return the page for this file of defaults."""
    parts = [HEAD]
    for title, keys in read_comments(text):
        rows = [f"## {title}\n\n| setting | default | kind | what it is for |\n| --- | --- | --- | --- |\n"]
        for key, comment in keys:
            name = key.replace("-", "_")
            rows.append(f"| `{key}` | `{shown(name, SETTINGS[name].default)}` | {describe_kind(name)} | {comment} |\n")
        parts.append("".join(rows))
    parts.append(_switches())
    parts.append(IDLE + "".join(f"| `--{name}` | {flag.reason} |\n" for name, flag in IDLE_FLAGS.items()))
    gates = (f"| `{name}` | {'on' if is_on else 'off'} | {reason} |\n" for name, (is_on, reason) in GATES.items())
    parts.append(GATE_HEAD + "".join(gates) + "\n`VolumeAttributesClass=true` is refused. Any other gate is named in")
    parts[-1] += " the log as one that has no effect.\n"
    parts.append(OTHERS)
    return "\n".join(parts)


def _switches() -> str:
    rows = [f"| `--{name}` | {text} |\n" for name, text in SWITCHES.items()]
    formats = ", ".join(f"{peer} is `{ours}`" for peer, ours in LOGGING_FORMAT.items())
    head = "## On the command line only\n\n| flag | does |\n| --- | --- |\n| `--config` | Names the file. |\n"
    return head + f"| `--logging-format` | external-resizer's name for `log-format`: {formats}. |\n" + "".join(rows)


def main() -> int:
    """Write the page, or with --check only say whether it is current; return the exit code."""
    page = write_page(SOURCE.read_text(encoding="utf-8"))
    if "--check" in sys.argv[1:]:
        if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == page:
            return 0
        sys.stderr.write(f"{PAGE.relative_to(ROOT)} is stale: run `make docs`\n")
        return 1
    PAGE.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
