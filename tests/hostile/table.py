"""All hostile files, and which wall stops each."""

from tests.hostile.archives import CONTAINERS
from tests.hostile.images import IMAGES
from tests.hostile.limits import LIMITS
from tests.hostile.pickled import EXPORTS, PICKLES
from tests.hostile.programs import COMPILED, PROGRAMS

BEFORE_LOADING = {**CONTAINERS, **PROGRAMS, **PICKLES, **EXPORTS}
HOSTILE = {**BEFORE_LOADING, **COMPILED, **LIMITS, **IMAGES}

__all__ = ["BEFORE_LOADING", "COMPILED", "HOSTILE", "IMAGES", "LIMITS"]
