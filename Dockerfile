# syntax=docker/dockerfile:1
#
# Two images from one file:
#   docker build --target api    -t ladder-api .      no torch: it never loads a model
#   docker build --target worker -t ladder-worker .   torch for the CPU; for GPUs see docker-compose.gpu.yml
#
# Behind a package mirror, hand over your pip configuration; it stays out of the image:
#   docker build --secret id=pip,src=$HOME/.config/pip/pip.conf ...

ARG PYTHON_IMAGE=docker.io/library/python:3.11-slim-bookworm

# ---- Dependencies first: this layer changes with pyproject.toml alone. ---------------------------------------
FROM ${PYTHON_IMAGE} AS build
RUN python -m venv /opt/ladder
ENV PATH=/opt/ladder/bin:$PATH \
    PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./

FROM build AS build-api
RUN --mount=type=cache,target=/root/.cache/pip --mount=type=secret,id=pip,target=/etc/pip.conf,required=false \
    pip install ".[api]"
COPY . .
RUN --mount=type=cache,target=/root/.cache/pip --mount=type=secret,id=pip,target=/etc/pip.conf,required=false \
    pip install --no-deps --force-reinstall .

FROM build AS build-worker
# PyTorch's index of CPU builds; PyPI's own are built for CUDA and weigh gigabytes.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN --mount=type=cache,target=/root/.cache/pip --mount=type=secret,id=pip,target=/etc/pip.conf,required=false \
    PIP_EXTRA_INDEX_URL=${TORCH_INDEX} pip install ".[worker]"
COPY . .
RUN --mount=type=cache,target=/root/.cache/pip --mount=type=secret,id=pip,target=/etc/pip.conf,required=false \
    pip install --no-deps --force-reinstall .

# ---- What both images run on. --------------------------------------------------------------------------------
FROM ${PYTHON_IMAGE} AS runtime
RUN groupadd --gid 10001 ladder \
    && useradd --uid 10001 --gid ladder --home-dir /nonexistent --no-create-home --shell /usr/sbin/nologin ladder
ENV PATH=/opt/ladder/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /
USER ladder

FROM runtime AS api
COPY --from=build-api /opt/ladder /opt/ladder
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
CMD ["python", "-m", "uvicorn", "--factory", "api.app:create_app", "--host", "0.0.0.0", "--port", "8000", "--no-access-log"]

FROM runtime AS worker
# OpenMP and the font cache want places to write; a read-only container gives them a tmpfs at /tmp.
ENV LADDER_WORK_DIR=/var/lib/ladder \
    MPLCONFIGDIR=/tmp/matplotlib
COPY --from=build-worker /opt/ladder /opt/ladder
COPY deploy/ping_worker.py /opt/ladder/
USER root
RUN install --directory --owner=ladder --group=ladder --mode=0700 /var/lib/ladder
USER ladder
VOLUME /var/lib/ladder
HEALTHCHECK --interval=60s --timeout=15s --start-period=30s --retries=3 \
    CMD ["python", "/opt/ladder/ping_worker.py"]
CMD ["python", "-m", "worker", "hardening", "--queue", "gpu"]
