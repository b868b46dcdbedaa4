"""The example's grader called by other evaluation libraries: `grade_libraries.py LIBRARY GRADER ITEMS FULL`.

Runs under a Python that has the library (make bench-grade makes one) and prints one line of JSON: the
seconds of its full evaluation of FULL items, as its documents show it for an evaluator in code, and of the
barest call it has, on all items. Building the library's rows is not timed. Telemetry is off.
"""

import asyncio
import contextlib
import importlib.metadata
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Json = dict[str, Any]
Function = Callable[[Json, Json], float]
Items = Sequence[tuple[Json, Json]]

OFF = {
    "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1", "LANGSMITH_TRACING": "false",
    "LANGCHAIN_TRACING_V2": "false", "EP_DISABLE_AUTO_BROWSER": "1", "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LANGSMITH_ENDPOINT": "http://127.0.0.1:9",
    # Defaults that would slow a grader in code for no reason of its own: ten calls a second, as for a
    # model behind an API; a progress row in SQLite for every state of every rollout.
    "MLFLOW_GENAI_EVAL_PREDICT_RATE_LIMIT": "0", "MLFLOW_GENAI_EVAL_SCORER_RATE_LIMIT": "0",
    "DISABLE_EP_SQLITE_LOG": "1",
}  # fmt: skip


def timed(work: Callable[[], Sequence[float]]) -> Json:
    began, used = time.perf_counter(), time.process_time()
    scores = work()
    spent = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - used}
    return {**spent, "rollouts": len(scores), "sum": sum(scores)}


def mlflow(grade: Function, items: Items, full: int) -> tuple[Json, Json]:
    """mlflow.genai.evaluate with a custom scorer, which logs a trace a row; and the scorer called."""
    import mlflow
    from mlflow.genai.scorers import scorer

    mlflow.set_tracking_uri("sqlite:///mlflow.db")

    @scorer
    def example(outputs: Any, expectations: Any) -> float:
        return grade(outputs, expectations)

    rows = [
        {"inputs": {"messages": rollout["messages"][:2]}, "outputs": rollout, "expectations": truth}
        for rollout, truth in items[:full]
    ]

    def evaluate() -> list[float]:
        return list(mlflow.genai.evaluate(data=rows, scorers=[example]).result_df["example/value"])

    # Warm, as strop's pool is: the first evaluation makes the database.
    mlflow.genai.evaluate(data=rows[:10], scorers=[example])
    return timed(evaluate), timed(lambda: [example(outputs=r, expectations=t) for r, t in items])


def eval_protocol(grade: Function, items: Items, full: int) -> tuple[Json, Json]:
    """An @evaluation_test over rows that are rolled out already; and a @reward_function called."""
    from eval_protocol import EvaluateResult, EvaluationRow, Message, evaluation_test, reward_function
    from eval_protocol.pytest import NoOpRolloutProcessor

    def row(rollout: Json, truth: Json) -> Any:
        messages = [Message.model_validate(message) for message in rollout["messages"]]
        found = EvaluationRow(messages=messages, tools=rollout["tools"], ground_truth=truth)
        found.input_metadata.dataset_info = {"rollout": rollout}
        return found

    rows = [row(*item) for item in items[:full]]
    scores: list[float] = []

    @evaluation_test(input_rows=[rows], rollout_processor=NoOpRolloutProcessor(), mode="pointwise")
    def example(row: EvaluationRow) -> EvaluationRow:
        info = row.input_metadata.dataset_info
        assert info is not None
        row.evaluation_result = EvaluateResult(score=grade(info["rollout"], row.ground_truth))
        scores.append(row.evaluation_result.score)
        return row

    @reward_function
    def reward(messages: Any, ground_truth: Any, **others: Any) -> EvaluateResult:
        return EvaluateResult(score=grade(others["rollout"], ground_truth))

    def evaluate() -> list[float]:
        scores.clear()
        asyncio.run(example(input_rows=rows))
        return scores

    def bare() -> list[float]:
        return [reward(messages=r["messages"], ground_truth=t, rollout=r).score for r, t in items]

    return timed(evaluate), timed(bare)


def openevals(grade: Function, items: Items, full: int) -> tuple[Json, Json]:
    """langsmith's evaluate, to which openevals' evaluators are given; and an evaluator called.

    openevals has no constructor for an evaluator in code; its own (exact_match) are built like this.
    """
    import uuid
    import warnings

    from langsmith import evaluate as langsmith_evaluate
    from langsmith.schemas import Example
    from openevals.utils import _run_evaluator

    warnings.simplefilter("ignore")

    def example(*, outputs: Any, reference_outputs: Any, **_: Any) -> Any:
        return _run_evaluator(
            run_name="example", scorer=lambda: grade(outputs, reference_outputs), feedback_key="example"
        )

    dataset = uuid.uuid4()
    rows = [
        Example(id=uuid.uuid4(), dataset_id=dataset, inputs={"number": number}, outputs=truth)
        for number, (_, truth) in enumerate(items[:full])
    ]

    def answer(inputs: Json) -> Json:
        return items[inputs["number"]][0]

    def evaluate() -> list[float]:
        found = langsmith_evaluate(answer, data=rows, evaluators=[example], upload_results=False)
        return [one["evaluation_results"]["results"][0].score for one in found]

    return timed(evaluate), timed(
        lambda: [example(outputs=r, reference_outputs=t)["score"] for r, t in items]
    )


LIBRARIES = {"mlflow": mlflow, "eval-protocol": eval_protocol, "openevals": openevals}


def main() -> None:
    library, grader, found, full = sys.argv[1:]
    os.environ.update(OFF)
    names: Json = {}
    exec(Path(grader).read_text(), names)
    items = [tuple(item) for item in json.loads(Path(found).read_text())]
    with contextlib.redirect_stdout(sys.stderr):
        evaluated, bare = LIBRARIES[library](names["grade"], items, int(full))
    version = importlib.metadata.version(library)
    print(json.dumps({"library": library, "version": version, "full": evaluated, "bare": bare}))


if __name__ == "__main__":
    main()
