"""The loop, top to bottom: pull, curate, grade, audit, train, compare, judge, promote.

Deterministic and free of I/O: all work happens in the steps of `strop.loop.steps`, each called once,
whatever dies in between.
"""

from __future__ import annotations

from strop.loop.engine.protocol import Json, Run

APPROVAL = "approval"
APPROVAL_TIMEOUT_S = 90 * 24 * 3600.0


async def loop(run: Run, options: Json) -> Json:
    """Turn what the sources hold into a verdict on a new model.

    options: {"allow_small": reason, "allow_binary": reason, "unsafe_grader": bool, "approval": bool}.
    """
    pulled = await run.step("pull")
    curated = await run.step("curate", {"allow_small": options.get("allow_small")})
    unsafe = bool(options.get("unsafe_grader"))
    grading = {"allow_binary": options.get("allow_binary"), "unsafe": unsafe}
    graded = await run.step("grade", grading)
    audited = await run.step("audit", grading)
    trained = await run.step("train", {"unsafe": unsafe})
    compared = await run.step("compare", {"trained": trained, "unsafe": unsafe})
    judged = {"report": compared["report"], "candidate": trained}
    rows = {key: curated[key] for key in ("pulled", "kept", "dropped")}
    seen = {**judged, "rows": rows, "distribution": graded["distribution"]}
    verdict = await run.step("judge", seen)
    if verdict["decision"] == "promote" and options.get("approval"):
        await run.publish("waiting", {"for": APPROVAL, "verdict": verdict})
        answer = await run.wait(APPROVAL, timeout_s=APPROVAL_TIMEOUT_S)
        if answer is None or not answer.get("approved"):
            return _result(run, pulled, curated, graded, audited, trained, compared, verdict, promoted=False)
    await run.step("promote", judged)
    promoted = verdict["decision"] == "promote"
    return _result(run, pulled, curated, graded, audited, trained, compared, verdict, promoted=promoted)


def _result(
    run: Run,
    pulled: Json,
    curated: Json,
    graded: Json,
    audited: Json,
    trained: Json,
    compared: Json,
    verdict: Json,
    *,
    promoted: bool,
) -> Json:
    return {
        "run_id": run.run_id,
        "pull": pulled,
        "curate": curated,
        "grade": graded,
        "audit": audited,
        "train": trained,
        "compare": compared,
        "verdict": verdict,
        "promoted": promoted,
    }
