"""How an equilibrium becomes a run folder: phases, certificate, figures, report."""

import importlib.util
from dataclasses import replace
from typing import Any

from extremal.lab import Picture, Run, Section, Text, atomic_write, write_report


def save_run(run: Run, flow: Any) -> None:
    """Write network, phases, certificate (without spillback) and, with matplotlib, the pictures."""
    from ._write import write_json

    write_json(flow.network, run.path / "network.json")
    run.write_json("phases.json", flow.as_json())
    if not flow.network.spills:
        flow.save(run.path)
    if importlib.util.find_spec("matplotlib") and importlib.util.find_spec("jinja2"):
        _write_pictures(run, flow)
    run.write_json(
        "result.json",
        {"status": flow.status, "phases": len(flow.phases), "seconds": flow.seconds},
    )


def save_arrivals(run: Run, flow: Any) -> None:
    """Write network, phases, certificate and, with matplotlib, a picture of travel times."""
    from ._write import write_json

    write_json(flow.network, run.path / "network.json")
    run.write_json("phases.json", flow.as_json())
    flow.save(run.path)
    if importlib.util.find_spec("matplotlib") and importlib.util.find_spec("jinja2"):
        from ._pictures import travel_times_of

        table = flow.table()
        picture = travel_times_of(flow)
        atomic_write(run.path / "figures" / "travel-times.svg", picture)
        sections: list[Section] = [
            Text(f"status: {flow.status}"),
            replace(table, title=table.title.partition("\nnote: ")[0]),
            Picture(picture, "Travel time over departure, for each origin"),
        ]
        if flow.notes:
            sections.append(Text("\n".join(flow.notes)))
        write_report(
            run.path / "report.html",
            f"Nash flow over time to {flow.sink}",
            sections,
            f"Check it: extremal verify {run.path.name}/certificate.json",
        )
    run.write_json(
        "result.json",
        {"status": flow.status, "phases": len(flow.phases), "seconds": flow.seconds},
    )


def _write_pictures(run: Run, flow: Any) -> None:
    from ._pictures import pictures_of

    table = flow.table()
    title = table.title.partition("\nnote: ")[0]  # notes stand at the end of the page
    sections: list[Section] = [Text(f"status: {flow.status}"), replace(table, title=title)]
    for name, caption, data in pictures_of(flow):
        atomic_write(run.path / "figures" / f"{name}.svg", data)
        sections.append(Picture(data, caption))
    if flow.notes:
        sections.append(Text("\n".join(flow.notes)))
    title = f"Nash flow over time {flow.source} -> {flow.sink}"
    footer = (
        "Spillback: no certificate; each phase was checked exactly while computing."
        if flow.network.spills
        else f"Check it: extremal verify {run.path.name}/certificate.json"
    )
    write_report(run.path / "report.html", title, sections, footer)
