# Two images out of one file: `service` answers checkouts, `trainer` learns from what the service recorded.
#
#   docker build --target service --tag fraud-scoring/service:0.1.0 .
#   docker build --target trainer --tag fraud-scoring/trainer:0.1.0 .
#
# Neither carries a compiler, pip's cache or a test, and the first no code that trains. `make rehearse` runs these
# very steps in a clean directory where there is no engine.

# The Debian and the Python that the tests ran on. To move: raise it here, run `make check` and `make rehearse`.
ARG PYTHON=python:3.11.15-slim-bookworm

FROM ${PYTHON} AS base
# libgomp1: OpenMP, which LightGBM's wheel links to and does not carry. Not pinned: a security fix must get in, and
# the tag above fixes the release of Debian.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/*
# A number, for clusters that want to see that it is not root; a name, for the history of promotions. The folders are
# there so that a fresh volume, which takes after what it covers, belongs to that user.
RUN groupadd --gid 10001 fraud \
    && useradd --uid 10001 --gid fraud --no-create-home --home-dir /var/lib/fraud --shell /usr/sbin/nologin fraud \
    && install --directory --owner=fraud --group=fraud --mode=0700 /var/lib/fraud /var/lib/fraud/store \
        /var/lib/fraud/registry /var/lib/fraud/snapshots /var/lib/fraud/runs \
    && install --directory --owner=fraud --group=fraud --mode=0755 /var/lib/fraud/metrics
ENV PATH=/opt/fraud/bin:${PATH} \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
WORKDIR /app

FROM ${PYTHON} AS service-packages
WORKDIR /build
COPY requirements-service.lock ./
# Without pip of its own: the environment that runs is changed by nobody. Every package is checked by its hash.
RUN --mount=type=cache,target=/var/cache/pip \
    python -m venv --without-pip /opt/fraud \
    && python -m pip --python /opt/fraud/bin/python --cache-dir /var/cache/pip install --no-deps --require-hashes \
        --only-binary :all: --requirement requirements-service.lock

FROM ${PYTHON} AS trainer-packages
WORKDIR /build
COPY requirements-training.lock ./
RUN --mount=type=cache,target=/var/cache/pip \
    python -m venv --without-pip /opt/fraud \
    && python -m pip --python /opt/fraud/bin/python --cache-dir /var/cache/pip install --no-deps --require-hashes \
        --only-binary :all: --requirement requirements-training.lock

FROM base AS trainer
COPY --from=trainer-packages /opt/fraud /opt/fraud
COPY deploy/service.toml /etc/fraud/service.toml
COPY service /app/service
COPY training /app/training
COPY scripts/every.sh scripts/nightly.sh /usr/local/bin/
RUN python -m compileall -q /app
# The folders that its commands work in, and those of libraries that want to write somewhere.
ENV FRAUD_CONFIG=/etc/fraud/service.toml \
    FRAUD_REGISTRY__PATH=/var/lib/fraud/registry \
    FRAUD_SNAPSHOTS=/var/lib/fraud/snapshots \
    FRAUD_RUNS=/var/lib/fraud/runs \
    FRAUD_METRICS=/var/lib/fraud/metrics \
    NUMBA_CACHE_DIR=/tmp/numba \
    MPLCONFIGDIR=/tmp/matplotlib
USER 10001:10001
HEALTHCHECK NONE
ENTRYPOINT ["python", "-m", "training"]
CMD ["--help"]

FROM base AS service
COPY --from=service-packages /opt/fraud /opt/fraud
COPY deploy/service.toml /etc/fraud/service.toml
COPY service /app/service
RUN python -m compileall -q /app
ENV FRAUD_CONFIG=/etc/fraud/service.toml
USER 10001:10001
EXPOSE 50051 9464
# It drains on SIGTERM: give it server.drain_s and eight seconds more before it is killed.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["python", "-m", "service.health"]
ENTRYPOINT ["python", "-m", "service"]
CMD ["serve"]
