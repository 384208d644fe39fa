"""Takes the picture of the demo for the README: plays a short one and draws its last screen as SVG.

Run it by hand after the screen changed: `python -m tools.pictures`. Ports and figures differ from
run to run, so the picture is kept in the repository and not compared.
"""

from __future__ import annotations

import asyncio
import io
import re
import sys
import tempfile
from pathlib import Path
from typing import Final

from rich.console import Console, RenderableType

from central_hub.cli.demo.director import Demo, Options
from central_hub.cli.demo.processes import free_ports
from central_hub.cli.demo.stage import HOST, Stage
from central_hub.cli.doctor import port_is_free
from central_hub.settings import DEFAULT_PORT

PICTURE: Final = Path(__file__).parents[1] / "docs" / "pictures" / "demo.svg"
WIDTH: Final = 100
HEIGHT: Final = 34
SECONDS: Final = 15.0
"""Long enough for three instances to be killed and to come back."""
TITLE: Final = "make run"

_FONT_FACE: Final = re.compile(r"\s*@font-face \{.*?\}", re.DOTALL)


def svg_of(screen: RenderableType) -> str:
    """Draw a screen as SVG that refers to nothing outside itself."""
    console = Console(record=True, file=io.StringIO(), width=WIDTH, force_terminal=True, color_system="truecolor")
    console.print(screen)
    drawn = console.export_svg(title=TITLE, unique_id="demo")
    lines = (line.rstrip() for line in _FONT_FACE.sub("", drawn).splitlines())
    return "\n".join(line for line in lines if line) + "\n"


async def play(seconds: float) -> str:
    """Play a demo and return its last screen as SVG."""
    port = DEFAULT_PORT if port_is_free(HOST, DEFAULT_PORT) else free_ports(1)[0]
    options = Options(
        seconds=seconds, port=port, live=False, scale=1.0, hub_outage_s=0.0, kills=True, trace_file=None, seed=1
    )
    with tempfile.TemporaryDirectory(prefix="central-hub-picture-") as directory:
        stage = Stage(Path(directory), port)
        try:
            demo = Demo(options, stage, asyncio.Event())
            await demo.play()
            return svg_of(demo.shown(height=HEIGHT))
        finally:
            await asyncio.to_thread(stage.clear)


def main() -> None:
    """Write the picture."""
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(asyncio.run(play(SECONDS)), "utf-8")
    sys.stderr.write(f"wrote {PICTURE.name}, {PICTURE.stat().st_size} bytes\n")


if __name__ == "__main__":
    main()
