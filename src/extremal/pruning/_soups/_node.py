"""A node of the graph: a pure function of its parents' results, its settings, the data, the code.

    key = SHA-256 of (kind, parents' keys, settings, what all nodes share)

What all nodes share is in the key too: options, loop, data, source code, torch. A node leaves two
files, its tensors and a JSON file that is written last. The JSON holds the hash of the tensors, the
hashes of the parents' tensors that were read, and its own; a node is done if all of them hold.
"""

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import extremal.training
from extremal import training
from extremal.lab import Run, RunError, sha256_file, to_plain
from extremal.pruning._phases import Given
from extremal.pruning._runs import SOUP_KIND, Store
from extremal.pruning._start import Start

from ._config import SoupConfig

KIND = SOUP_KIND


@dataclass(frozen=True)
class Node:
    """One step, known before anything is computed."""

    label: str
    kind: str
    parents: tuple[str, ...]  # keys
    settings: Mapping[str, Any]
    key: str
    least: int | None = None  # of a merge: how many parents suffice

    @property
    def file(self) -> str:
        """The name of its files, without ending."""
        return f"{self.label}-{self.key[:12]}"


@dataclass(frozen=True)
class Context:
    """What every node may use; it goes to the workers whole."""

    folder: Path
    start: Start
    config: SoupConfig
    given: Given
    shared: Mapping[str, Any]  # in every key
    nodes: dict[str, Node]
    begun: float = 0.0  # when this wave of nodes began, in seconds since 1970

    @property
    def store(self) -> Store:
        """The results on disk."""
        return Store(Run(self.folder, KIND, {}))

    def node(
        self, label: str, kind: str, parents: tuple[Node, ...] = (), *, least: int | None = None,
        **settings: Any,
    ) -> Node:  # fmt: skip
        """A node with its key."""
        keys = tuple(parent.key for parent in parents)
        text = json.dumps([kind, keys, settings, self.shared], sort_keys=True)
        key = hashlib.sha256(text.encode()).hexdigest()
        # The same step under two names is one node: the first name stays.
        return self.nodes.setdefault(key, Node(label, kind, keys, settings, key, least))

    def parents(self, node: Node) -> list[Node]:
        """Those whose results are used, in order."""
        return [self.nodes[key] for key in node.parents]

    def facts(self, node: Node) -> dict[str, Any]:
        """The plain values of a finished node, checked.

        Raises:
            RunError: It is not finished, or damaged; the text names it.
        """
        name = f"checkpoints/{node.file}.json"
        if not (self.folder / name).exists():
            raise RunError(
                f"Node {node.label} ({node.key[:12]}) is not computed yet; run it first, or run "
                "the whole soup."
            )
        facts: dict[str, Any] = Run(self.folder, KIND, {}).read_json(name)
        if facts.get("key") != node.key or facts.get("seal") != _seal(facts):
            raise RunError(f"{self.folder / name} has been changed; the node must run again.")
        return facts

    def tensors(self, node: Node) -> dict[str, Tensor]:
        """The tensors of a finished node, checked."""
        return self.store.tensors(node.file, self.facts(node))

    def path(self, node: Node) -> Path:
        """The file of a node's tensors."""
        return self.folder / "checkpoints" / f"{node.file}.safetensors"

    def done(self, node: Node) -> bool:
        """Whether the node's result exists, is whole, and belongs to its parents' present ones."""
        try:
            facts = self.facts(node)
            if facts["sha256"] is not None and sha256_file(self.path(node)) != facts["sha256"]:
                return False
            used: dict[str, Any] = facts["parents"]
            if len(used) < (node.least or len(node.parents)):
                return False
            return all(self.facts(self.nodes[k])["sha256"] == sha for k, sha in used.items())
        except (RunError, OSError):
            return False

    def used(self, node: Node) -> list[Node]:
        """The parents that a finished node was made from."""
        return [self.nodes[key] for key in self.facts(node)["parents"]]

    def keep(
        self,
        node: Node,
        facts: Mapping[str, Any],
        tensors: Mapping[str, Tensor] | None = None,
        used: list[Node] | None = None,
    ) -> None:
        """Write a node's result; the plain values come last."""
        plain: dict[str, Any] = {
            **facts,
            "key": node.key,
            "label": node.label,
            "kind": node.kind,
            "settings": dict(node.settings),
            "parents": {p.key: self.facts(p)["sha256"] for p in used or self.parents(node)},
            "sha256": None,
        }
        if tensors is not None:
            self.path(node).parent.mkdir(exist_ok=True)
            plain["sha256"] = training.save_tensors(self.path(node), tensors)
        plain["seal"] = _seal(plain)
        Run(self.folder, KIND, {}).write_json(f"checkpoints/{node.file}.json", plain)


def shared_by_all(start: Start, config: SoupConfig) -> dict[str, Any]:
    """What every key depends on."""
    loop: dict[str, Any] = to_plain(start.loop)
    for name in ("seed", "threads", "checkpoint_every", "graph"):
        del loop[name]
    return {
        "options": config.of_nodes(),
        "loop": loop,
        "data": start.data_key,
        "code": code_fingerprint(),
        "torch": torch.__version__,
    }


@functools.cache
def code_fingerprint() -> str:
    """SHA-256 of the source files that compute: this area and `training`."""
    digest = hashlib.sha256()
    for root in (Path(extremal.training.__file__).parent, Path(__file__).parents[1]):
        for file in sorted(root.rglob("*.py")):
            digest.update(f"{file.relative_to(root).as_posix()}\0".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _seal(facts: Mapping[str, Any]) -> str:
    plain = {name: value for name, value in facts.items() if name != "seal"}
    text = json.dumps(plain, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
