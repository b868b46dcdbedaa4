"""The six worlds, built once on import (well under two seconds)."""

from __future__ import annotations

from forty import expressions, invoices, refunds, shipments, support, tickets
from forty.world import Simulated, World

SIMULATED: dict[str, Simulated] = {
    built.world.name: built
    for built in (
        shipments.build(),
        refunds.build(),
        invoices.build(),
        tickets.build(),
        support.build(),
        expressions.build(),
    )
}
WORLDS: dict[str, World] = {name: simulated.world for name, simulated in SIMULATED.items()}
