"""Generate src/resizer/rpc/pb from src/resizer/rpc/proto: what `make protos` runs.

For each .proto file protoc writes messages, gRPC stubs, and type information for both (mypy-protobuf, asyncio
flavour only: nothing here calls a driver from a thread). The test of committed stubs calls `generate` with a
folder of its own and compares.
"""

# ruff: noqa: INP001 -- a script, not part of a package
import re
import sys
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PROTO_DIR = ROOT / "src/resizer/rpc/proto"
PACKAGE = "resizer/rpc/pb"


def generate(out_dir: Path) -> None:
    """Write the stubs below `out_dir`/resizer/rpc/pb; raises SystemExit with protoc's own exit code."""
    (out_dir / PACKAGE).mkdir(parents=True, exist_ok=True)
    well_known = resources.files("grpc_tools") / "_proto"
    scripts = Path(sys.executable).parent
    # The virtual folder makes the generated imports absolute: `from resizer.rpc.pb import csi_v1_pb2`.
    exit_code = protoc.main(
        [
            "protoc",
            f"-I{PACKAGE}={PROTO_DIR}",
            f"-I{well_known}",
            f"--python_out={out_dir}",
            f"--grpc_python_out={out_dir}",
            f"--mypy_out={out_dir}",
            # A service implements what it offers: the rest answers UNIMPLEMENTED, so nothing is abstract.
            f"--mypy_grpc_out=only_async,generate_concrete_servicer_stubs:{out_dir}",
            *[f"--plugin={name}={scripts / name}" for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")],
            *[f"{PACKAGE}/{path.name}" for path in sorted(PROTO_DIR.glob("*.proto"))],
        ]
    )
    if exit_code:
        raise SystemExit(exit_code)
    for path in (out_dir / PACKAGE).glob("*_pb2*"):
        # The generators leave blanks at line ends, which git and editors mark.
        text = re.sub(r"[ \t]+$", "", path.read_text(), flags=re.MULTILINE)
        path.write_text(text)


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "src")
