"""An uploaded file becomes a ``Classifier``: latents and head, train and eval, save.

A loaded TorchScript module or exported program cannot be hooked, split or switched to training. So its
program is compiled anew, in these steps, one module each: ``archive`` recognises and loads the file, and
``parse`` (TorchScript) or ``parse_export`` (``torch.export``) turns its program into the small intermediate
form of ``graph``. From there on there is one kind of program: ``outputs`` finds the logits behind what it
returns, ``head`` finds the last linear layer, ``slicing`` cuts the program there, ``emit`` writes each half
as a Python function, and ``wrapper`` runs them on the upload's own tensors, which ``network`` holds. Saving
writes those tensors into the original file (``torchscript``, ``exported``), whose code never changes.
``upload`` says what such a format must provide.
"""

from ladder_core.classifier.description import Description
from ladder_core.classifier.load import load_classifier
from ladder_core.classifier.outputs import OutputForm
from ladder_core.classifier.wrapper import Classifier

__all__ = ["Classifier", "Description", "OutputForm", "load_classifier"]
