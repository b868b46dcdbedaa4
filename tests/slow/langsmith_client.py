"""LangSmith's own client (and LangGraph) against a server: run by the interpreter that has them installed.

python langsmith_client.py read|write ADDRESS KEY PROJECT_ID
"""

from __future__ import annotations

import asyncio
import json
import sys
import warnings
from datetime import UTC, datetime
from typing import Any

from langsmith import Client, traceable, tracing_context

SINCE, UNTIL = datetime(2026, 11, 23, tzinfo=UTC), datetime(2026, 11, 25, tzinfo=UTC)
SELECTS = ["ID", "NAME", "RUN_TYPE", "START_TIME", "TRACE_ID", "DOTTED_ORDER", "INPUTS", "OUTPUTS", "EXTRA"]
TOOL = {"name": "get_order", "description": "Look up", "parameters": {"type": "object", "properties": {}}}
QUESTION, RESULT, ANSWER = "Where is 007?", '{"status": "late"}', '{"status": "late"}'
METADATA = {"session_id": "sess-9", "user_id": "user-9", "tenant": "acme"}


def told(run: Any) -> dict[str, Any]:
    """What a run of the client holds, in v1's spelling."""
    fields = ("id", "name", "trace_id", "dotted_order", "inputs", "outputs", "extra")
    plain = {f: getattr(run, f) for f in fields}
    return json.loads(json.dumps({**plain, "run_type": str(run.run_type).lower()}, default=str))


def read_v1(client: Client) -> list[dict[str, Any]]:
    return [told(run) for run in client.list_runs(project_name="agent", start_time=SINCE)]


async def read_v2(client: Client, project: str) -> list[dict[str, Any]]:
    pages = client.runs.query(
        project_ids=[project], min_start_time=SINCE, max_start_time=UNTIL, selects=SELECTS, page_size=3
    )
    return [told(run) async for run in pages]


@traceable(run_type="llm", metadata={"ls_provider": "own", "ls_model_name": "m-1"})
def ask(messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> dict[str, Any]:
    if messages[-1]["role"] == "tool":
        usage = {"input_tokens": 7, "output_tokens": 3}
        return {"role": "assistant", "content": ANSWER, "usage_metadata": usage}
    call = {"name": "get_order", "arguments": '{"no": "007"}'}
    calls = [{"id": "call_1", "type": "function", "function": call}]
    return {"role": "assistant", "content": None, "tool_calls": calls}


@traceable(run_type="tool", name="get_order")
def look_up(no: str) -> str:
    return RESULT


@traceable(name="support")
def agent(question: str) -> str:
    messages: list[dict[str, Any]] = [{"role": "user", "content": question}]
    said = ask(messages, [{"type": "function", "function": TOOL}])
    messages += [said, {"role": "tool", "tool_call_id": "call_1", "content": look_up("007")}]
    return ask(messages, [{"type": "function", "function": TOOL}])["content"]


def write_functions(client: Client) -> None:
    with tracing_context(enabled=True, client=client, project_name="agent"):
        agent(QUESTION, langsmith_extra={"client": client, "metadata": METADATA})


def write_graph(client: Client) -> None:
    from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
    from langchain_core.messages import AIMessage
    from langchain_core.tools import tool
    from langchain_core.tracers import LangChainTracer
    from langgraph.graph import START, MessagesState, StateGraph
    from langgraph.prebuilt import ToolNode, tools_condition

    @tool
    def get_order(no: str) -> str:
        """Look up"""
        return RESULT

    call = {"name": "get_order", "args": {"no": "007"}, "id": "call_1", "type": "tool_call"}
    usage = {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10}
    answers = [AIMessage("", tool_calls=[call]), AIMessage(ANSWER, usage_metadata=usage)]
    model = GenericFakeChatModel(messages=iter(answers)).bind(tools=[{"type": "function", "function": TOOL}])
    graph = StateGraph(MessagesState)
    graph.add_node("agent", lambda state: {"messages": [model.invoke(state["messages"])]})
    graph.add_node("tools", ToolNode([get_order]))
    graph.add_edge(START, "agent")
    graph.add_conditional_edges("agent", tools_condition)
    graph.add_edge("tools", "agent")
    tracer = LangChainTracer(client=client, project_name="agent")
    graph.compile(name="support").invoke(
        {"messages": [("user", QUESTION)]}, {"callbacks": [tracer], "metadata": METADATA, "tags": ["prod"]}
    )
    tracer.wait_for_futures()


def main(what: str, address: str, key: str, project: str) -> None:
    client = Client(api_url=address, api_key=key, auto_batch_tracing=False)
    if what == "write":
        write_functions(client)
        write_graph(client)
        return
    older, newer = read_v1(client), asyncio.run(read_v2(client, project))
    feedback = [f.key for f in client.list_feedback(run_ids=[r["id"] for r in older[:3]])]
    print(json.dumps({"v1": older, "v2": newer, "feedback": feedback}))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(*sys.argv[1:])
