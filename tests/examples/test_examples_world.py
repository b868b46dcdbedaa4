"""The world is hard in the ways it should be, and the same for the same seed."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict

import pytest
from company_world import EXAMPLES, answered, simulated
from logistics import carriers, company, inquiries, world

STATUS_WEIGHT = 0.60


def test_the_same_seed_gives_the_same_world_and_another_seed_another():
    assert world.build(14, 150, 3) == world.build(14, 150, 3)
    assert world.build(14, 150, 3) != world.build(14, 150, 4)


def test_too_few_inquiries_are_refused():
    with pytest.raises(ValueError, match="at least"):
        world.build(14, 20, 1)


def test_exactly_as_many_inquiries_as_ordered_and_a_day_after():
    during = [i for i in simulated().inquiries if i.day <= 14]
    assert len(during) == 1600
    assert sum(i.day == 15 for i in simulated().inquiries) >= 60
    assert len({i.ticket for i in simulated().inquiries}) == len(simulated().inquiries)


def test_no_class_is_over_a_quarter_and_customers_are_very_unequal():
    during = [i for i in simulated().inquiries if i.day <= 14]
    statuses = Counter(i.status for i in during)
    assert set(statuses) == set(carriers.STATUSES)
    assert max(statuses.values()) <= 0.25 * len(during)
    customers = Counter(i.customer_id for i in during)
    assert len(customers) >= 40
    assert 0.28 <= max(customers.values()) / len(during) <= 0.36
    assert {i.person.language for i in during} == {"de", "en"}


def test_every_class_occurs_with_every_carrier():
    seen = {(a.carrier, a.inquiry.status) for a in answered()}
    assert len(seen) == len(carriers.CARRIERS) * len(carriers.STATUSES)


def test_the_truth_is_the_last_informative_event():
    for a in answered():
        known = [carriers.MEANING.get((a.carrier, w)) for w in a.wordings]
        assert [status for status in known if status][-1] == a.inquiry.status


def test_tool_results_are_small_and_recorded_as_of_the_inquiry():
    for a in answered():
        assert 1 <= len(a.wordings) <= 5
        assert all(line[:5] <= world.date(a.inquiry.at) for line in a.tracked["events"])


def test_simple_baselines_stay_under_their_bounds():
    tasks = answered()
    train, test = tasks[: int(len(tasks) * 0.7)], tasks[int(len(tasks) * 0.8) :]
    fitted: dict[str, Counter[str]] = defaultdict(Counter)
    for a in train:
        fitted[a.wordings[-1]][a.inquiry.status] += 1
    last = [a.wordings[-1] in fitted and fitted[a.wordings[-1]].most_common(1)[0][0] for a in test]
    keywords = company.baselines()["keywords"]
    hits = [[k for k in keywords if k in a.wordings[-1].lower()] for a in test]
    keyword = [keywords[max(found, key=len)] if found else "in_transit" for found in hits]
    common = Counter(a.inquiry.status for a in train).most_common(1)[0][0]
    assert _share(last, test) <= 0.80
    assert _share(keyword, test) <= 0.80
    assert STATUS_WEIGHT * _share([common] * len(test), test) + (1 - STATUS_WEIGHT) <= 0.56


def test_neutral_scans_hide_other_statuses_in_about_a_third():
    neutral = {text for c in carriers.CARRIERS for text in (*c.neutral, c.unseen.get("neutral", ""))}
    hidden = [a.wordings[-1] in neutral and a.inquiry.status != "in_transit" for a in answered()]
    assert sum(hidden) >= 0.28 * len(hidden)


def test_some_wordings_occur_only_in_the_last_fifth():
    tasks = answered()
    before, after = tasks[: int(len(tasks) * 0.8)], tasks[int(len(tasks) * 0.8) :]
    assert not any(a.inquiry.unseen_event or a.inquiry.unseen_question for a in before)
    assert sum(a.inquiry.unseen_event for a in after) >= 10
    assert sum(a.inquiry.unseen_question for a in after) >= 10
    listed = company.unseen()
    for a in tasks:
        assert a.inquiry.unseen_event == any(w in listed["events"] for w in a.wordings)
    total = sum(len(t) for c in carriers.CARRIERS for t in (*c.wordings.values(), c.neutral))
    assert 0.04 <= len(listed["events"]) / total <= 0.08


def test_replay_covers_the_calls_a_right_answer_needs():
    recorded: set[tuple[str, str]] = set()
    covered: list[bool] = []
    for a in answered():
        recorded |= {(name, a.inquiry.tracking) for name in a.calls}
        covered += [(name, a.inquiry.tracking) in recorded for name in ("lookup_tracking", "lookup_eta")]
    assert sum(covered) / len(covered) >= 0.97


def test_shipments_are_asked_about_several_times():
    per = Counter(i.tracking for i in simulated().inquiries)
    assert sum(per.values()) / len(per) >= 4
    assert sum(n >= 2 for n in per.values()) / len(per) >= 0.95
    asking = defaultdict(set)
    for i in simulated().inquiries:
        asking[i.tracking].add(i.person.name)
    assert sum(len(names) > 1 for names in asking.values()) / len(asking) > 0.7


def test_tracking_numbers_look_like_the_carriers_own_and_are_found_again():
    shapes = {re.sub("[0-9]", "9", s.tracking)[:3] for s in simulated().shipments}
    assert {"JJD", "9Z9"} & shapes
    lengths = {len(s.tracking) for s in simulated().shipments}
    assert lengths == {11, 12, 14, 18, 20, 21}
    for i in simulated().inquiries:
        assert carriers.find_tracking(i.text) == i.tracking


def test_only_arrived_is_recognised_in_exactly_these_inquiries():
    for i in simulated().inquiries:
        assert bool(inquiries.ONLY_ARRIVED.search(i.text)) == (i.kind == "arrived")


def test_labels_are_in_no_prompt_and_no_tool_result():
    for a in answered():
        system, *rest = a.messages
        shown = " ".join(str(m["content"]) for m in rest if m["role"] in ("user", "tool"))
        assert not any(label in shown for label in ("in_transit", "final_status", a.inquiry.ticket))
        assert system["role"] == "system"


def test_identities_name_everybody_and_tell_colleagues_apart():
    known = company.identities(simulated())
    by_where = {w: {k["value"] for k in known if k["where"] == w} for w in ("field", "free_text_only")}
    assert not by_where["field"] & by_where["free_text_only"]
    for i in simulated().inquiries:
        assert {i.person.name, i.person.email, i.person.phone} <= by_where["field"]
        assert i.colleague is None or i.colleague in by_where["free_text_only"]
    named = sum(i.colleague is not None for i in simulated().inquiries)
    assert 0 < named < 0.1 * len(simulated().inquiries)


def test_the_committed_baselines_file_is_the_generated_one():
    committed = json.loads((EXAMPLES / "logistics" / "baselines.json").read_text(encoding="utf-8"))
    assert committed == company.baselines()


def _share(guesses: list, test: list) -> float:
    return sum(g == a.inquiry.status for g, a in zip(guesses, test, strict=True)) / len(test)
