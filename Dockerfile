# syntax=docker/dockerfile:1
#
# Two images from one file:
#   docker build --target api    -t ladder-api .      no torch: it never loads a model
#   docker build --target worker -t ladder-worker .   torch for the CPU; for GPUs see docker-compose.gpu.yml
#
# Behind a package mirror, hand over your pip configuration; it stays out of the image:
#   docker build --secret id=pip,src=$HOME/.config/pip/pip.conf ...

ARG PYTHON_IMAGE=docker.io/library/python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS base
ENV PATH=/opt/ladder/bin:$PATH \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
RUN python -m venv /opt/ladder

# ---- What we depend on changes with pyproject.toml alone, so our own code is a small layer of its own. --------
FROM base AS dependencies
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./

FROM dependencies AS api-dependencies
RUN --mount=type=cache,target=/root/.cache/pip --mount=type=secret,id=pip,target=/etc/pip.conf,required=false \
    pip install ".[api,tracing]"

FROM dependencies AS worker-dependencies
# PyTorch's index of CPU builds; PyPI's own are built for CUDA and weigh gigabytes.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN --mount=type=cache,target=/root/.cache/pip --mount=type=secret,id=pip,target=/etc/pip.conf,required=false \
    PIP_EXTRA_INDEX_URL=${TORCH_INDEX} pip install ".[worker,tracing]"

FROM dependencies AS wheel
COPY . .
RUN --mount=type=cache,target=/root/.cache/pip --mount=type=secret,id=pip,target=/etc/pip.conf,required=false \
    pip wheel --no-deps --wheel-dir /wheel .

# ---- The images. ---------------------------------------------------------------------------------------------
FROM base AS runtime
RUN groupadd --gid 10001 ladder \
    && useradd --uid 10001 --gid ladder --home-dir /nonexistent --no-create-home --shell /usr/sbin/nologin ladder

FROM runtime AS api
COPY --from=api-dependencies /opt/ladder /opt/ladder
RUN --mount=type=bind,from=wheel,source=/wheel,target=/wheel \
    pip install --no-deps --no-index --force-reinstall /wheel/*.whl
USER ladder
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
CMD ["python", "-m", "uvicorn", "--factory", "api.app:create_app", "--host", "0.0.0.0", "--port", "8000", "--no-access-log", "--timeout-graceful-shutdown", "5"]

FROM runtime AS worker
# matplotlib's font cache wants a place to write; a read-only container has one at /tmp.
ENV LADDER_WORK_DIR=/var/lib/ladder \
    MPLCONFIGDIR=/tmp/matplotlib
COPY --from=worker-dependencies /opt/ladder /opt/ladder
RUN --mount=type=bind,from=wheel,source=/wheel,target=/wheel \
    pip install --no-deps --no-index --force-reinstall /wheel/*.whl \
    && install --directory --owner=ladder --group=ladder --mode=0700 /var/lib/ladder
COPY deploy/ping_worker.py /opt/ladder/
USER ladder
VOLUME /var/lib/ladder
HEALTHCHECK --interval=60s --timeout=15s --start-period=30s --retries=3 \
    CMD ["python", "/opt/ladder/ping_worker.py"]
CMD ["python", "-m", "worker", "hardening", "--queue", "gpu"]
