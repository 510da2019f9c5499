# The ranker: probabilities of actions by a language model, whose base weights the image brings. Keeps nothing;
# trained versions come from a folder that is mounted (HOMEPAGE_RANKER_REGISTRY).
#
#     docker build --file Dockerfiles/ranker.Dockerfile --tag homepage-ranker .
#     docker build --file Dockerfiles/ranker.Dockerfile --tag homepage-ranker-cuda --build-arg TORCH_INDEX= .
#     docker run --publish 50054:50054 homepage-ranker
#
# BASE: a Debian with Python 3.11 or newer and its venv. PyTorch brings CUDA itself, so it is the same for both.
ARG BASE=python:3.11-slim

# What is to be installed, apart: dependencies are installed anew only when these lines have changed.
FROM ${BASE} AS requirements
WORKDIR /requirements
COPY pyproject.toml Dockerfiles/requirements.py ./
RUN python3 requirements.py ranker < pyproject.toml > requirements.txt

FROM ${BASE} AS build
# pip's own variables, for a mirror of PyPI and for the authority that signs it.
ARG PIP_INDEX_URL
ARG PIP_CERT
# Where PyTorch is taken from: its own index has a wheel for CPUs; without one it is PyPI's, which is for CUDA.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /build
RUN python3 -m venv /opt/homepage
COPY --from=requirements /requirements/requirements.txt ./
RUN /opt/homepage/bin/pip install --no-cache-dir ${TORCH_INDEX:+--index-url "${TORCH_INDEX}"} "$(grep ^torch requirements.txt)" \
    && /opt/homepage/bin/pip install --no-cache-dir --requirement requirements.txt
COPY . .
RUN /opt/homepage/bin/pip install --no-cache-dir --no-deps . \
    && /opt/homepage/bin/pip uninstall --yes pip setuptools

FROM ${BASE}
RUN useradd --uid 10001 --user-group --home-dir /tmp --no-create-home --shell /usr/sbin/nologin homepage
COPY --from=build /opt/homepage /opt/homepage
# Compiles what it imports of Python's own library, which official images bring uncompiled and a read-only root keeps so;
# and fails if something is missing.
RUN /opt/homepage/bin/python -c "import services.ranker.service"
# TOKENIZERS_PARALLELISM is no secret, it only sounds like one.
# hadolint ignore=DL3064
ENV PATH=/opt/homepage/bin:$PATH \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONFAULTHANDLER=1 \
    PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1 \
    OMP_WAIT_POLICY=PASSIVE \
    TOKENIZERS_PARALLELISM=false \
    HOMEPAGE_RANKER_LISTEN=0.0.0.0:50054 \
    HOMEPAGE_RANKER_ADMIN_LISTEN=0.0.0.0:50064 \
    HOMEPAGE_RANKER_METRICS_LISTEN=0.0.0.0:9464
EXPOSE 50054 50064 9464
USER 10001:10001
ENTRYPOINT ["python", "-m", "services.ranker"]
ARG VERSION
ARG REVISION
LABEL org.opencontainers.image.title="homepage-ranker" \
      org.opencontainers.image.description="The ranker of the homepage recommender: probabilities of actions by a language model" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
