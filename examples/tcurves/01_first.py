"""The sextics of one triangulation: census, a witness, a picture, an independent check."""

from extremal import tcurves, verify

found = tcurves.census("bat", out="runs/bat")
print(f"{len(found)} schemes over {found.total:,} sign vectors, {found.states:,} states")

entry = found["<5 u 1<5>>"]
print(f"{entry.scheme}: {entry.count} sign vectors, for instance {entry.witness}")
print("10 ovals side by side:", "proved unreachable" if found.unreachable("<10>") else "reached")

tcurves.draw(found, scheme="<5 u 1<5>>", out="bat.svg")
print(verify.file("runs/bat").as_text())
