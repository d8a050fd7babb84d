"""What an installed wheel does; run by an interpreter that has nothing else, see the Makefile.

Run:  PYTHON tests/wheel.py [EXTRA ...]
Without extras every area answers with the line to type, and certificates are still checked; with an
extra its area gives an answer whose certificate is accepted.
"""

import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path

TRAINED = ["training", "fit", "--model", "mlp", "--data", "digits", "--epochs", "1", "--out", "d"]
ANSWERS: dict[str, list[list[str]]] = {  # a short answer each; the last command leaves `run`
    "coloring": [["coloring", "find", "--colors", "8", "--budget", "60s", "--out", "run"]],
    "compression": [TRAINED, ["compression", "compress", "d", "--kind", "unstructured",
                              "--ratio", "0.5", "--out", "run"]],
    "flows": [["flows", "nash", "braess", "--out", "run"]],
    "frankwolfe": [["frankwolfe", "minimize", "breast-cancer", "--region", "l1", "--radius", "5",
                    "--gap", "1e-6", "--out", "run"]],
    "interpret": [["interpret", "certify", "--k", "3", "--samples", "300", "--out", "run"]],
    "llm": [],  # needs a model: importing is all that can be tried
    "pruning": [TRAINED, ["pruning", "prune", "d", "--sparsity", "0.5", "--epochs", "1",
                          "--out", "run"]],
    "sos": [["sos", "certify", "x^4-2*x^2+1", "--out", "run"]],
    "tcurves": [["tcurves", "scheme", "honeycomb-4", "000000000000000", "--out", "run"]],
    "training": [[*TRAINED[:-1], "run"]],
}  # fmt: skip
SILENT = ["flows", "sos"]  # these can answer something with the core alone


def shell(*words: str, folder: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "extremal.cli", *words],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip


def expect(condition: bool, text: str) -> None:
    if not condition:
        sys.exit(f"wheel: {text}")


def main(extras: list[str]) -> None:
    import extremal

    expect("site-packages" in extremal.__file__, f"it is imported from {extremal.__file__}")
    for heavy in ("torch", "numba"):
        expect(heavy not in sys.modules, f"import extremal loads {heavy}")
    with tempfile.TemporaryDirectory() as folder:
        ended = shell("--help", folder=folder)
        expect(ended.returncode == 0, ended.stderr)
        areas = known_areas()
        for area, verbs in areas.items():
            if extras or area in SILENT or importlib.util.find_spec("torch"):
                continue
            verb = next(iter(verbs))
            ended = shell(area, verb, "x", "--out", "o", folder=folder)
            line = f"pip install 'extremal[{area}]'"
            # A verb may refuse its input before it needs anything; it never shows a traceback.
            expect(ended.returncode == 2, f"{area} {verb}: {ended.stderr}{ended.stdout}")
            expect(ended.stderr.count("\n") == 1, f"{area} {verb} says more than a line")
            known = line in ended.stderr or "No module" not in ended.stderr
            expect(known, f"{area} {verb}: {ended.stderr}")
        certificate = Path(folder) / "certificate.json"
        part = {
            "kind": "tcurves/scheme", "version": 1, "claim": {}, "witness": {}
        }  # fmt: skip
        body = {"format": "extremal/certificate", "version": 1, "parts": [part]}
        certificate.write_text(json.dumps(body))
        ended = shell("verify", str(certificate), folder=folder)
        expect(ended.returncode == 1, f"an empty claim was not rejected: {ended.stdout}")
        for extra in extras:
            importlib.import_module(f"extremal.{extra}")
            for words in ANSWERS[extra]:
                ended = shell(*words, folder=folder)
                expect(ended.returncode == 0, f"{words}: {ended.stderr}")
            if ANSWERS[extra]:
                ended = shell("verify", "run", folder=folder)
                expect(ended.returncode == 0, f"{extra} is not verified: {ended.stdout}")
    print(f"wheel with {', '.join(extras) or 'no extra'}: as it should be")  # noqa: T201


def known_areas() -> dict[str, dict[str, str]]:
    from extremal.cli import AREAS

    return {area: verbs for area, (_, verbs) in AREAS.items()}


if __name__ == "__main__":
    main(sys.argv[1:])
