"""What a SAM template says about functions, with its intrinsic functions resolved."""

from coldspan_console.project.project import Declared, Layer, Project, of_properties

__all__ = ["Declared", "Layer", "Project", "of_properties"]
