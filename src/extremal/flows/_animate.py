"""The network in motion: one HTML file that needs nothing else, or an MP4 where ffmpeg is found.

Flow is drawn where it is: at the share p of an arc at time t runs what entered at t - p * transit.
The disc at the end of an arc is its queue; its area says the volume.
"""

import json
import shutil
import subprocess
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

from extremal.lab import atomic_path, atomic_write, new_figure

from ._equilibrium import NashFlow
from ._errors import FlowsError
from ._pictures import ACTIVE, IDLE, QUEUED, _last_clock, bends, places

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>@TITLE@</title>
<style>
 body { font: 15px/1.4 system-ui, "DejaVu Sans", sans-serif; max-width: 64rem; margin: 1rem auto;
        padding: 0 1rem; color: #1a1a1a; }
 canvas { width: 100%; border: 1px solid #ddd; } input[type=range] { width: 60%; }
 button { width: 5rem; } .row { display: flex; gap: 1rem; align-items: center; }
</style></head><body>
<h1 style="font-size:1.2rem">@TITLE@</h1>
<canvas id="c" width="1200" height="640"></canvas>
<div class="row"><button id="play">Play</button><input id="t" type="range" min="0" max="1000">
<span id="now"></span></div>
<p>Line width: flow rate where it runs. Orange disc: volume waiting at the end of the arc.</p>
<script>
const D = @DATA@;
const c = document.getElementById("c"), g = c.getContext("2d");
const slider = document.getElementById("t");
const xs = D.nodes.map(n => n.x), ys = D.nodes.map(n => n.y);
const pad = 60, x0 = Math.min(...xs), x1 = Math.max(...xs);
const y0 = Math.min(...ys), y1 = Math.max(...ys);
const place = n => [pad + (c.width - 2*pad) * (x1 > x0 ? (n.x-x0)/(x1-x0) : .5),
                    c.height - pad - (c.height - 2*pad) * (y1 > y0 ? (n.y-y0)/(y1-y0) : .5)];
const at = Object.fromEntries(D.nodes.map(n => [n.name, place(n)]));
function value(line, t) {
  if (t <= line[0][0]) return line[0][1];
  for (let i = 1; i < line.length; i++) if (t <= line[i][0]) {
    const [a, u] = line[i-1], [b, v] = line[i];
    return u + (v-u) * (t-a) / (b-a);
  }
  return line[line.length-1][1];
}
function rate(line, t) {
  if (t < line[0][0]) return 0;
  for (let i = 1; i < line.length; i++) if (t < line[i][0])
    return (line[i][1]-line[i-1][1]) / (line[i][0]-line[i-1][0]);
  return 0;
}
function spot(a, b, bow, p) {
  const mx = (a[0]+b[0])/2 - bow*(b[1]-a[1]), my = (a[1]+b[1])/2 + bow*(b[0]-a[0]), q = 1-p;
  return [q*q*a[0] + 2*p*q*mx + p*p*b[0], q*q*a[1] + 2*p*q*my + p*p*b[1]];
}
function draw(t) {
  g.clearRect(0, 0, c.width, c.height); g.lineCap = "butt";
  for (const e of D.arcs) {
    const a = at[e.tail], b = at[e.head], N = 40;
    for (let i = 0, k; i < N; i = k) {
      const flow = j => rate(e.enters, t - (j + .5)/N * e.transit), r = flow(i);
      g.beginPath(); g.moveTo(...spot(a, b, e.bow, i/N));
      for (k = i; k < N && Math.abs(flow(k) - r) < 1e-6 * D.top; k++)
        g.lineTo(...spot(a, b, e.bow, (k+1)/N));
      g.lineWidth = 1 + 16 * r / D.top; g.strokeStyle = r > 0 ? "@ACTIVE@" : "@IDLE@"; g.stroke();
    }
    const z = value(e.enters, t - e.transit) - value(e.leaves, t);
    if (z > 1e-9) {
      const [x, y] = spot(a, b, e.bow, .88);
      g.beginPath(); g.arc(x, y, 4 + 26 * Math.sqrt(z / D.most), 0, 7); g.globalAlpha = .85;
      g.fillStyle = "@QUEUED@"; g.fill(); g.globalAlpha = 1;
      g.fillStyle = "#1a1a1a"; g.font = "13px sans-serif"; g.textAlign = "center";
      g.fillText(z.toPrecision(3), x, y + 4);
    }
  }
  for (const n of D.nodes) {
    const [x, y] = at[n.name], end = n.name === D.source || n.name === D.sink;
    g.beginPath(); g.arc(x, y, 14, 0, 7); g.fillStyle = end ? "#222" : "#fff"; g.fill();
    g.lineWidth = 1.5; g.strokeStyle = "#000"; g.stroke();
    g.fillStyle = end ? "#fff" : "#000"; g.font = "13px sans-serif"; g.textAlign = "center";
    g.fillText(n.name, x, y + 5);
  }
  document.getElementById("now").textContent = "time " + t.toFixed(2);
}
let playing = false, last = 0;
slider.oninput = () => draw(slider.value / 1000 * D.end);
document.getElementById("play").onclick = e => {
  playing = !playing; e.target.textContent = playing ? "Pause" : "Play"; last = 0;
  if (playing) requestAnimationFrame(step);
};
function step(now) {
  if (!playing) return;
  if (last) slider.value = (+slider.value + (now - last) / 20) % 1000;
  last = now; slider.oninput(); requestAnimationFrame(step);
}
slider.value = 250; slider.oninput();
</script></body></html>
"""


def write_animation(flow: NashFlow, path: Path | str, *, frames: int = 240) -> Path:
    """Write an animation: `.html`, or `.mp4` through ffmpeg.

    Raises:
        FlowsError: An MP4 is wanted and there is no ffmpeg, or it failed.
        ValueError: The path has another ending.
    """
    path = Path(path)
    if path.suffix == ".html":
        return atomic_write(path, page(flow))
    if path.suffix == ".mp4":
        return _movie(flow, path, frames)
    raise ValueError(f"{path.name} ends neither in .html nor in .mp4.")


def page(flow: NashFlow) -> str:
    """Return the animation as one HTML page."""
    data = json.dumps(_data(flow)).replace("</", "<\\/")
    title = f"Nash flow over time {flow.source} to {flow.sink}"
    text = _PAGE.replace("@TITLE@", title.replace("<", "&lt;")).replace("@ACTIVE@", ACTIVE)
    return text.replace("@IDLE@", IDLE).replace("@QUEUED@", QUEUED).replace("@DATA@", data)


def _data(flow: NashFlow) -> dict[str, Any]:
    spots, bow, end = places(flow.network, flow.source), bends(flow.network), _last_clock(flow)
    arcs: list[dict[str, Any]] = []
    top, most = 1e-9, 1e-9
    for arc in flow.network.arcs:
        enters, leaves = flow.inflow_curve(arc.name), flow.outflow_curve(arc.name)
        queue = flow.queue_curve(arc.name)
        most = max(most, *(float(queue(t)) for t in queue.times))
        lines = [_line(c, end) for c in (enters, leaves)]
        for (t0, v0), (t1, v1) in pairwise(lines[0]):
            top = max(top, (v1 - v0) / (t1 - t0))
        arcs.append(
            {
                "tail": arc.tail, "head": arc.head, "transit": float(arc.transit),
                "bow": bow[arc.name], "enters": lines[0], "leaves": lines[1],
            }
        )  # fmt: skip
    return {
        "nodes": [{"name": n, "x": spots[n][0], "y": spots[n][1]} for n in flow.network.nodes],
        "arcs": arcs, "end": end, "top": top, "most": most, "source": flow.source,
        "sink": flow.sink,
    }  # fmt: skip


def _line(curve: Any, end: float) -> list[list[float]]:
    points = [[float(t), float(v)] for t, v in curve.points if float(t) < end]
    last = curve.times[-1]
    value = float(curve.values[-1]) + float(curve.slope) * (end - float(last))
    if float(last) >= end:
        value = float(curve(type(last)(end)))
    return [*points, [end, value]]


def _movie(flow: NashFlow, path: Path, frames: int) -> Path:
    program = shutil.which("ffmpeg")
    if program is None:
        raise FlowsError("an MP4 needs ffmpeg, which is not on the PATH; write .html instead.")
    data = _data(flow)
    with tempfile.TemporaryDirectory() as folder, atomic_path(path) as temporary:
        for k in range(frames):
            _frame(data, data["end"] * k / frames, Path(folder) / f"{k:05d}.png")
        ended = subprocess.run(
            [program, "-y", "-loglevel", "error", "-framerate", "24", "-i", f"{folder}/%05d.png",
             "-pix_fmt", "yuv420p", "-f", "mp4", str(temporary)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if ended.returncode:
            raise FlowsError(f"ffmpeg failed: {ended.stderr.strip()[:200]}")
    return path


def _frame(data: dict[str, Any], time: float, file: Path) -> None:
    from ._curves import Curve

    figure, axis = new_figure(8.0, 4.4)
    axis.axis("off")
    spots = {n["name"]: (n["x"], n["y"]) for n in data["nodes"]}
    for arc in data["arcs"]:
        (x0, y0), (x1, y1) = spots[arc["tail"]], spots[arc["head"]]
        enters = Curve.through([tuple(p) for p in arc["enters"]])
        leaves = Curve.through([tuple(p) for p in arc["leaves"]])
        now = time - arc["transit"] / 2
        rate = (enters(now + 1e-6) - enters(now)) * 1e6
        axis.plot([x0, x1], [y0, y1], color=ACTIVE if rate > 0 else IDLE,
                  linewidth=1 + 6 * rate / data["top"])  # fmt: skip
        queue = enters(time - arc["transit"]) - leaves(time)
        if queue > 1e-9:
            axis.scatter([x0 + 0.88 * (x1 - x0)], [y0 + 0.88 * (y1 - y0)], color=QUEUED, zorder=4,
                         s=600 * queue / data["most"])  # fmt: skip
    for name, (x, y) in spots.items():
        axis.text(x, y, name, ha="center", va="center", zorder=5,
                  bbox={"boxstyle": "circle", "fc": "white", "ec": "black"})  # fmt: skip
    axis.set_title(f"time {time:.1f}")
    figure.savefig(file, dpi=100)
