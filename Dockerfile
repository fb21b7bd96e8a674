# Two images of one source tree:
#   docker build --target service  -t i3rec-service .    the online service; no torch, no build tools
#   docker build --target training -t i3rec-training .   the offline trainer
# PIP_FLAGS goes to every pip. Without it, pip on Linux takes the torch for NVIDIA devices (gigabytes) for the trainer.

FROM python:3.11-slim AS requirements
COPY pyproject.toml ./
RUN python -c "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
    extras = project['optional-dependencies']; \
    print(*project['dependencies'], *extras['cpu'], *extras['postgres'], sep='\n', file=open('/service.txt', 'w')); \
    print(*extras['train'], sep='\n', file=open('/training.txt', 'w'))"

FROM python:3.11-slim AS dependencies
ARG PIP_FLAGS=""
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
# The base image's pip installs into the environment, so that none travels in it.
RUN python -m venv --without-pip /opt/venv
# Of pyproject.toml only the requirements count here: this layer outlives every change of sources and tool settings.
COPY --from=requirements /service.txt /tmp/
RUN pip --python /opt/venv/bin/python install --quiet $PIP_FLAGS -r /tmp/service.txt
WORKDIR /src

FROM dependencies AS service-build
ARG PIP_FLAGS=""
COPY pyproject.toml LICENSE README.md ./
COPY model_store model_store
COPY service service
COPY training training
# All three packages are one distribution; without torch the trainer among them is a few unused files.
RUN pip --python /opt/venv/bin/python install --quiet --no-deps $PIP_FLAGS .

FROM python:3.11-slim AS runtime
# A volume mounted on an empty directory takes over its owner, so the data directories exist and belong to the user.
RUN groupadd --gid 10001 i3rec \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin i3rec \
 && install -d -o 10001 -g 10001 /data /data/store /data/journal /data/dataset
# Bytecode was compiled at installation: a read-only root file system loses nothing.
ENV PATH=/opt/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 OMP_WAIT_POLICY=passive
WORKDIR /data
USER 10001:10001

FROM runtime AS service
LABEL org.opencontainers.image.title="i3rec-service" \
      org.opencontainers.image.description="Online recommender for catalogues whose items are incomplete" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=service-build /opt/venv /opt/venv
ENV I3REC_MODEL_STORE=/data/store I3REC_JOURNAL_URL=sqlite:////data/journal/journal.db
EXPOSE 8000
# /livez, not /readyz: orchestrators restart what is unhealthy, and no restart helps a service that waits for its first
# model. Whoever routes traffic asks /readyz.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
  CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(f\"http://127.0.0.1:{os.environ.get('I3REC_PORT', '8000')}/livez\", timeout=2)"]
CMD ["python", "-m", "service"]

# Last, so that a builder which takes stages in order stops before it.
FROM dependencies AS training-build
ARG PIP_FLAGS=""
COPY --from=requirements /training.txt /tmp/
RUN pip --python /opt/venv/bin/python install --quiet $PIP_FLAGS -r /tmp/training.txt
COPY pyproject.toml LICENSE README.md ./
COPY model_store model_store
COPY service service
COPY training training
RUN pip --python /opt/venv/bin/python install --quiet --no-deps $PIP_FLAGS .

FROM runtime AS training
LABEL org.opencontainers.image.title="i3rec-training" \
      org.opencontainers.image.description="Offline trainer of I3Rec: trains, evaluates and publishes model bundles" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=training-build /opt/venv /opt/venv
ENTRYPOINT ["python", "-m", "training"]
CMD ["--help"]
