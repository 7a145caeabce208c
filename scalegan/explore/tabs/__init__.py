"""The page's tabs, from left to right; the first is what visitors see."""

from scalegan.explore.tabs.directions import Directions
from scalegan.explore.tabs.faces import Faces
from scalegan.explore.tabs.images import Images
from scalegan.explore.tabs.mixing import Mixing
from scalegan.explore.tabs.nearest import Nearest
from scalegan.explore.tabs.photo import Photo
from scalegan.explore.tabs.samples import Samples
from scalegan.explore.tabs.walk import Walk

ALL = (Samples, Walk, Mixing, Directions, Photo, Images, Faces, Nearest)
