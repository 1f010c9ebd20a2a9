"""What is looked at rather than read: raw pixels and points, for a process that never held the model."""

from ladder_core.pictures.images import gallery, reconstructions, walks
from ladder_core.pictures.latents import latent_planes
from ladder_core.pictures.run import DrawnRun, draw_pictures

__all__ = ["DrawnRun", "draw_pictures", "gallery", "latent_planes", "reconstructions", "walks"]
