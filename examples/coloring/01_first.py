"""Seven colours for the plane, found from nothing, certified, drawn, and checked again."""

from extremal import coloring, verify

found = coloring.find(coloring.Problem.plane(7), budget="60s", grid=24, seed=0, out="runs/seven")
print(found.table().as_text())
print("colour 0 avoids", [f"[{a:.4f}, {b:.4f}]" for a, b in found.spectrum(0).intervals])

coloring.plot(found.colouring, found.problem, periods=2, out="seven.png")
print(verify.file("runs/seven").as_text())
