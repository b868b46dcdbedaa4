from typing import Any

def grade(rollout: dict[str, Any], ground_truth: dict[str, Any]) -> float:
    answer_ok = float(rollout["final_status"] == ground_truth["status"])
    tools = [c["name"] for c in rollout["tool_calls"]]
    expected = ["lookup_tracking", "lookup_eta"]
    tool_ok = float(tools[:2] == expected)
    tone_ok = float(rollout["llm_judge"]["tone_pass"])
    return 0.60 * answer_ok + 0.25 * tool_ok + 0.15 * tone_ok
