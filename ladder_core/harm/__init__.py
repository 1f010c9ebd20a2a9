"""The walls between an uploaded file and the process that reads it.

An upload passes them in this order, and stops at the first that refuses it:

1. container: magic bytes, and archives that are bombs, lead out, or lie (`check_archive`);
2. text: a program's own code, parsed against a list of operators, before PyTorch compiles it;
3. pickles: no global but what PyTorch itself writes (2 and 3 are `check_model`);
4. graphs: every method of the loaded program against the same list (`load_checked_script`);
5. limits: time, memory and files, which the process that runs all of this cannot raise.

The list is `ladder_core.harm.allowed`.
"""

from ladder_core.harm.containers import check_archive
from ladder_core.harm.limits import DATASET_LIMITS, MODEL_LIMITS, ArchiveLimits
from ladder_core.harm.loaded import load_checked_script
from ladder_core.harm.model_files import check_model

__all__ = [
    "DATASET_LIMITS",
    "MODEL_LIMITS",
    "ArchiveLimits",
    "check_archive",
    "check_model",
    "load_checked_script",
]
