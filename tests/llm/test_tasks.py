"""Zero-shot tasks through lm-eval: what is asked of it, what is taken from it, what is refused."""

import json
import shutil
import sys
import types

import pytest

from extremal import llm
from extremal.llm import LLMError

pytest.importorskip("transformers")
TASK = """
task: letters
dataset_path: json
dataset_kwargs:
  data_files:
    test: {file}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: ["a", "b"]
doc_to_target: "{{{{answer}}}}"
metric_list:
  - metric: acc
"""


@pytest.fixture
def fake(monkeypatch):
    """An lm-eval that notes what it was asked and gives two tasks."""
    asked = {}

    def simple_evaluate(**given):
        asked.update(given)
        return {"results": {"one": {"acc,none": 0.25, "acc_norm,none": 0.9},
                            "two": {"acc,none": 0.75}, "free": {"bleu,none": 3.0}}}  # fmt: skip

    module = types.ModuleType("lm_eval")
    module.simple_evaluate = simple_evaluate
    tasks = types.ModuleType("lm_eval.tasks")
    tasks.TaskManager = lambda include_path: ("manager", include_path)
    monkeypatch.setitem(sys.modules, "lm_eval", module)
    monkeypatch.setitem(sys.modules, "lm_eval.tasks", tasks)
    return asked


def test_accuracy_is_the_plain_one_without_examples(fake, tiny, text):
    found = llm.evaluate(tiny, text=text, window=16, tasks=("one", "two"), dense=str(tiny))
    assert found.accuracy == {"one": 0.25, "two": 0.75}
    assert found.dense.accuracy == found.accuracy
    assert (fake["num_fewshot"], fake["tasks"]) == (0, ["one", "two"])
    assert fake["model_args"] == {"pretrained": str(tiny)}
    table = found.table().as_text()
    assert "acc one" in table
    assert "mean acc" in table
    with pytest.raises(LLMError, match="free measures no accuracy, but bleu"):
        llm.evaluate(tiny, text=text, window=16, tasks=("free",))


def test_without_lm_eval_the_extra_is_named(monkeypatch, tiny, text):
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(ImportError, match="llm-eval"):
        llm.evaluate(tiny, text=text, window=16, tasks=("hellaswag",))


@pytest.mark.peer
def test_lm_eval_itself_answers_a_task_of_our_own(tiny, text, tmp_path):
    pytest.importorskip("lm_eval", reason="pip install lm-eval, in an environment of its own")
    file = tmp_path / "questions.json"
    model = tmp_path / "model"
    shutil.copytree(tiny, model)
    about = json.loads((model / "tokenizer_config.json").read_text())
    ends = {"bos_token": "<s>", "eos_token": "</s>"}  # lm-eval begins every question with one
    (model / "tokenizer_config.json").write_text(json.dumps({**about, **ends}))
    rows = [{"question": "abc"[: 1 + i % 3], "answer": i % 2} for i in range(12)]
    file.write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "letters.yaml").write_text(TASK.format(file=file))
    found = llm.evaluate(
        model, text=text, window=16, tasks=("letters",), task_folder=str(tmp_path), limit=10
    )
    assert found.accuracy["letters"] in {i / 10 for i in range(11)}
