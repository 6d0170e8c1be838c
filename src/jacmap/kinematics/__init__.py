"""Kinematics of robots (extra ``jacmap[robotics]``): where links are, and what joints make of them."""

try:
    import jaxlie  # noqa: F401
    import yourdfpy  # noqa: F401
except ModuleNotFoundError as error:
    raise ImportError("jacmap.kinematics needs jaxlie and yourdfpy: pip install 'jacmap[robotics]'") from error

from ._manipulability import Ellipsoid, force_ellipsoid, manipulability, manipulability_gradient, velocity_ellipsoid
from ._robot import Robot
from ._singular import SingularPose, nearest_singular, singular_poses
from ._velocity import joint_speeds, torques, twist, wrench

__all__ = [
    "Ellipsoid",
    "Robot",
    "SingularPose",
    "force_ellipsoid",
    "joint_speeds",
    "manipulability",
    "manipulability_gradient",
    "nearest_singular",
    "singular_poses",
    "torques",
    "twist",
    "velocity_ellipsoid",
    "wrench",
]
