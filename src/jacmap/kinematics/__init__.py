"""Kinematics of robots (extra ``jacmap[robotics]``): where links are, and how joints move them."""

try:
    import jaxlie  # noqa: F401
    import yourdfpy  # noqa: F401
except ModuleNotFoundError as error:
    raise ImportError("jacmap.kinematics needs jaxlie and yourdfpy: pip install 'jacmap[robotics]'") from error

from ._control import Speeds, centring, control
from ._inverse import Solution, inverse_kinematics
from ._robot import Robot
from ._track import Track, track

__all__ = ["Robot", "Solution", "Speeds", "Track", "centring", "control", "inverse_kinematics", "track"]
