"""Pictures of Jacobians (extra ``jacmap[plot]``): every function takes `ax=`, draws on it and returns it.

Without `ax` a figure of its own is made by `matplotlib.pyplot.subplots`; nothing is shown before `plt.show()`.
"""

try:
    import matplotlib  # noqa: F401
except ModuleNotFoundError as error:
    raise ImportError("jacmap.plot needs matplotlib: pip install 'jacmap[plot]'") from error

from ._arm import arm
from ._bars import bars
from ._directions import directions
from ._ellipse import circle_to_ellipse
from ._ellipsoid import sphere_to_ellipsoid
from ._fields import vector_field
from ._gains import gains
from ._gradient_flow import gradient_flow
from ._grid import grid
from ._manipulability import manipulability_map
from ._matrix import matrix
from ._memory import memory
from ._pattern import pattern
from ._sensitivity import sensitivity_map
from ._singular import singular_values
from ._trust import trust
from ._volume import volume_map
from ._warp import before_after, residual, warped_grid

__all__ = [
    "arm",
    "bars",
    "before_after",
    "circle_to_ellipse",
    "directions",
    "gains",
    "gradient_flow",
    "grid",
    "manipulability_map",
    "matrix",
    "memory",
    "pattern",
    "residual",
    "sensitivity_map",
    "singular_values",
    "sphere_to_ellipsoid",
    "trust",
    "vector_field",
    "volume_map",
    "warped_grid",
]
