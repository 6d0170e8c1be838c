"""What backpropagation must keep, what doing it again costs, and the best schedule for a budget of bytes."""

from .front import memory_plan
from .plan import MemoryPlan, Schedule

__all__ = ["MemoryPlan", "Schedule", "memory_plan"]
