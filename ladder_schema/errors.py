"""Why a job failed, as a closed set of codes: clients branch on the code, people read the message."""

from enum import StrEnum


class ErrorCode(StrEnum):
    """Stable identifiers of a failed job's ``error.code``; a code is never renamed or reused."""

    # The uploaded model.
    MODEL_UNREADABLE = "model_unreadable"
    """Empty, truncated, a bare pickle, or no TorchScript archive at all."""
    MODEL_UNSAFE = "model_unsafe"
    """The archive holds code or data outside what a classifier needs."""
    MODEL_UNSUPPORTED = "model_unsupported"
    """A valid program whose operators or head this service cannot take apart."""
    MODEL_NOT_CLASSIFIER = "model_not_classifier"
    """The output is not one score per class (a regression, a segmentation, a multi-label model)."""
    MODEL_REJECTS_IMAGES = "model_rejects_images"
    """The model raised on a batch of the dataset's images."""
    MODEL_NEAR_CHANCE = "model_near_chance"
    """The model does not know its own data: usually preprocessing or class order."""

    # The uploaded dataset.
    DATASET_UNREADABLE = "dataset_unreadable"
    DATASET_UNSAFE = "dataset_unsafe"
    """An archive built to do harm while it is unpacked: a bomb, a path that leads out, a link."""
    DATASET_UNLABELLED = "dataset_unlabelled"
    DATASET_LABELS_INVALID = "dataset_labels_invalid"
    """Labels that are no class indices, or outside the model's classes."""
    DATASET_TOO_FEW_CLASSES = "dataset_too_few_classes"
    DATASET_TOO_SMALL = "dataset_too_small"
    DATASET_TOO_LARGE = "dataset_too_large"
    """Unpacked or decoded, it does not fit into the files a job may write."""
    DATASET_IMAGES_INVALID = "dataset_images_invalid"
    """Not finite, a shape that is no image, values outside the stated range, or too many damaged files."""

    # The run.
    CONFIG_UNSUITABLE = "config_unsuitable"
    """Valid by itself, impossible for this model or dataset."""
    TRAINING_DIVERGED = "training_diverged"
    OUT_OF_MEMORY = "out_of_memory"
    TIME_LIMIT = "time_limit"
    """The job ran longer than its `max_runtime`, or than any job may."""
    QUEUE_TIMEOUT = "queue_timeout"
    """No worker took the job in time."""
    IDLE_LIMIT = "idle_limit"
    """Nothing was heard of the job's progress for too long."""
    DISK_LIMIT = "disk_limit"
    """The job wrote more than one attempt may."""
    CHILD_CRASHED = "child_crashed"
    """The process that held the model died; the message carries its last words."""
    PROTOCOL_VIOLATION = "protocol_violation"
    """The process that held the model said something it must not say."""
    WORKER_LOST = "worker_lost"
    """Too many workers in a row disappeared while running the job."""
    INTERNAL = "internal"
    """A fault of the service, not of the upload."""
