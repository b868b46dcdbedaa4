"""Set the simulated company up, and say what strop's checks need to know about it.

python -m logistics.company init [--db URL] [--days 14] [--inquiries 2400] [--seed 7]
python -m logistics.company identities [--db URL] [--out known.json]
python -m logistics.company unseen
python -m logistics.company baselines
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from logistics import carriers, database, inquiries, world
from logistics.teacher import DISCLOSURE

DEFAULT_DB: Final = "sqlite:///logistics/company.db"


def identities(simulated: world.World) -> list[dict[str, str]]:
    """Return every known name, e-mail address and phone number.

    where: "field" (an attribute of the run or a field of a tool result holds it too) or
    "free_text_only" (colleagues who are named in inquiries and nowhere else).
    """
    known: list[dict[str, str]] = []
    for customer in simulated.customers:
        for person in (*customer.people, *customer.recipients):
            values = {"name": person.name, "email": person.email, "phone": person.phone}
            known += [{"kind": k, "value": v, "where": "field"} for k, v in values.items()]
        known += [{"kind": "name", "value": name, "where": "free_text_only"} for name in customer.colleagues]
    return known


def unseen() -> dict[str, list[str]]:
    """Return the wordings that come into use only on the last days (questions up to the number)."""
    questions = [text.split("{t}")[0].strip() for text in inquiries.UNSEEN_QUESTIONS.values()]
    return {"events": list(carriers.UNSEEN_EVENTS), "questions": questions}


def baselines() -> dict[str, Any]:
    """Return what the baseline of the last event's keyword looks for, and where."""
    keywords = {
        text.lower(): status
        for carrier in carriers.CARRIERS
        for status, texts in carrier.wordings.items()
        for text in texts
    }
    return {"tool": "lookup_tracking", "field": "events", "keywords": keywords, "default": "in_transit"}


def summary(simulated: world.World) -> dict[str, Any]:
    """Count what a world holds, for people and tests."""
    during = [i for i in simulated.inquiries if i.day <= simulated.days]
    statuses = Counter(i.status for i in during)
    busiest = Counter(i.customer_id for i in during).most_common(1)[0][1]
    return {
        "days": simulated.days,
        "inquiries": len(during),
        "inquiries_after": len(simulated.inquiries) - len(during),
        "shipments": len(simulated.shipments),
        "customers": len({i.customer_id for i in during}),
        "largest_customer_share": round(busiest / len(during), 3),
        "status_shares": {s: round(statuses[s] / len(during), 3) for s in carriers.STATUSES},
        "copies": sum(i.copies - 1 for i in during),
        "broken": sum(bool(i.defect) for i in during),
        "colleagues_named": sum(i.colleague is not None for i in during),
        "unseen_event_wording": sum(i.unseen_event for i in during),
        "unseen_question_wording": sum(i.unseen_question for i in during),
        "teacher": DISCLOSURE,
    }


def _rebuilt(db: str) -> world.World:
    """Build the world again that `init` wrote: its parameters stand in the database."""
    with sa.create_engine(db).connect() as connection:
        days, number, seed = connection.execute(sa.select(database.worlds)).one()
    return world.build(days, number, seed)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; each prints one JSON document."""
    parser = argparse.ArgumentParser(prog="logistics.company", description="the simulated forwarder")
    commands = parser.add_subparsers(dest="command", required=True)
    init = commands.add_parser("init", help="write the company's database")
    init.add_argument("--db", default=DEFAULT_DB)
    init.add_argument("--days", type=int, default=14)
    init.add_argument("--inquiries", type=int, default=2400)
    init.add_argument("--seed", type=int, default=7)
    listed = commands.add_parser("identities", help="every known name, e-mail address and phone number")
    listed.add_argument("--db", default=DEFAULT_DB)
    listed.add_argument("--out", type=Path, help="file to write (default: stdout)")
    commands.add_parser("unseen", help="wordings that occur only on the last days")
    commands.add_parser("baselines", help="the keyword baseline's keywords")
    given = parser.parse_args(arguments)
    match given.command:
        case "init":
            simulated = world.build(given.days, given.inquiries, given.seed)
            database.save(sa.create_engine(given.db), simulated, given.seed)
            shown: Any = summary(simulated)
        case "identities":
            shown = identities(_rebuilt(given.db))
            if given.out:
                given.out.write_text(json.dumps(shown, ensure_ascii=False, indent=1), encoding="utf-8")
                shown = {"identities": len(shown), "file": str(given.out)}
        case "unseen":
            shown = unseen()
        case _:
            shown = baselines()
    print(json.dumps(shown, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
