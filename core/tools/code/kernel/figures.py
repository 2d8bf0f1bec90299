"""The module `ponte_figures`, a backend of matplotlib: figures come out without being asked for.

The name stands in MPLBACKEND as `module://ponte_figures`; matplotlib imports it with pyplot. What
a backend is made of: https://matplotlib.org/stable/users/explain/figure/writing_a_backend_pyplot_interface.html
"""

import importlib
import io
import os
from collections.abc import Iterator
from typing import Any
from weakref import WeakSet

DPI = 120

_agg: Any = importlib.import_module("matplotlib.backends.backend_agg")
_bases: Any = importlib.import_module("matplotlib.backend_bases")
_waiting: list[bytes] = []
"""Pictures of figures that the code showed, to be sent with the next ones."""
_saved: WeakSet[Any] = WeakSet()
"""Figures that the code saved to a file."""


def take_figures() -> Iterator[bytes]:
    """Yield each figure that was made since the last call, as PNG, and close all figures.

    A figure that the code saved to a file is left out: the file itself is sent. If a figure cannot
    be drawn, the others are yielded first; then its error is raised.
    """
    failed: list[BaseException] = []
    try:
        yield from _waiting
        for figure in _open():
            try:
                picture = _png(figure)
            except Exception as error:
                failed.append(error)
                continue
            yield picture
    finally:
        _waiting.clear()
        _pyplot().close("all")
    if failed:
        raise failed[0]


def _open() -> Iterator[Any]:
    for number in _pyplot().get_fignums():
        figure = _pyplot().figure(number)
        if figure not in _saved and (figure.axes or figure.texts or figure.images):
            yield figure


def _png(figure: Any) -> bytes:
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=DPI, bbox_inches="tight")
    return picture.getvalue()


def _pyplot() -> Any:
    return importlib.import_module("matplotlib.pyplot")


def _show(cls: type, /, **options: object) -> None:
    _waiting.extend(_png(figure) for figure in _open())
    _pyplot().close("all")


def _stay(self: object) -> None:
    # There is no window: the figure comes out when the run ends.
    ...


def _print_figure(self: Any, filename: object, *args: object, **options: object) -> object:
    if isinstance(filename, (str, os.PathLike)):
        _saved.add(self.figure)
    return _agg.FigureCanvasAgg.print_figure(self, filename, *args, **options)


FigureManager: Any = type(
    "FigureManager", (_bases.FigureManagerBase,), {"pyplot_show": classmethod(_show), "show": _stay}
)
FigureCanvas: Any = type(
    "FigureCanvas",
    (_agg.FigureCanvasAgg,),
    {"manager_class": FigureManager, "print_figure": _print_figure},
)
