"""Kinematics of robots (extra ``jacmap[robotics]``): where links are, and what joints make of them."""

try:
    import jaxlie  # noqa: F401
    import yourdfpy  # noqa: F401
except ModuleNotFoundError as error:
    raise ImportError("jacmap.kinematics needs jaxlie and yourdfpy: pip install 'jacmap[robotics]'") from error

from ._control import Speeds, centring, control
from ._inverse import Solution, inverse_kinematics
from ._manipulability import Ellipsoid, force_ellipsoid, manipulability, manipulability_gradient, velocity_ellipsoid
from ._robot import Robot
from ._singular import SingularPose, nearest_singular, singular_poses
from ._track import Track, track
from ._velocity import joint_speeds, torques, twist, wrench

__all__ = [
    "Ellipsoid",
    "Robot",
    "SingularPose",
    "Solution",
    "Speeds",
    "Track",
    "centring",
    "control",
    "force_ellipsoid",
    "inverse_kinematics",
    "joint_speeds",
    "manipulability",
    "manipulability_gradient",
    "nearest_singular",
    "singular_poses",
    "torques",
    "track",
    "twist",
    "velocity_ellipsoid",
    "wrench",
]
