"""The module `ponte_figures`, a backend of matplotlib: figures come out without being asked for.

The name stands in MPLBACKEND as `module://ponte_figures`; matplotlib imports it with pyplot. What
a backend is made of: https://matplotlib.org/stable/users/explain/figure/writing_a_backend_pyplot_interface.html
"""

import importlib
import io
import os
from typing import Any
from weakref import WeakSet

DPI = 120

_agg: Any = importlib.import_module("matplotlib.backends.backend_agg")
_bases: Any = importlib.import_module("matplotlib.backend_bases")
_waiting: list[bytes] = []
_saved: WeakSet[Any] = WeakSet()


def take() -> list[bytes]:
    """Every figure since the last call as PNG; those that the code wrote to a file come as that."""
    _draw()
    taken = list(_waiting)
    _waiting.clear()
    return taken


def _draw() -> None:
    pyplot: Any = importlib.import_module("matplotlib.pyplot")
    for number in pyplot.get_fignums():
        figure = pyplot.figure(number)
        if figure in _saved or not (figure.axes or figure.texts or figure.images):
            continue
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=DPI, bbox_inches="tight")
        _waiting.append(picture.getvalue())
    pyplot.close("all")


def _show(cls: type, /, **options: object) -> None:
    """plt.show(): the figures so far are done, what follows begins a new one."""
    _draw()


def _stay(self: object) -> None:
    """figure.show(): there is no window; the figure comes out when the run ends."""


def _print_figure(self: Any, filename: object, *args: object, **options: object) -> object:
    if isinstance(filename, (str, os.PathLike)):
        _saved.add(self.figure)
    return _agg.FigureCanvasAgg.print_figure(self, filename, *args, **options)


FigureManager: Any = type(
    "FigureManager",
    (_bases.FigureManagerBase,),
    {"pyplot_show": classmethod(_show), "show": _stay},
)
FigureCanvas: Any = type(
    "FigureCanvas",
    (_agg.FigureCanvasAgg,),
    {"manager_class": FigureManager, "print_figure": _print_figure},
)
