# The orchestrator: the front door. It keeps nothing.
#
#     docker build --file Dockerfiles/orchestrator.Dockerfile --tag homepage-orchestrator .
#     docker run --publish 50051:50051 --env HOMEPAGE_ORCHESTRATOR_PROFILE_ADDRESS=profile:50052 \
#         --env HOMEPAGE_ORCHESTRATOR_RETRIEVAL_ADDRESS=retrieval:50053 \
#         --env HOMEPAGE_ORCHESTRATOR_RANKER_ADDRESS=ranker:50054 homepage-orchestrator
#
# BASE: a Debian with Python 3.11 or newer and its venv.
ARG BASE=python:3.11-slim

# What is to be installed, apart: dependencies are installed anew only when these lines have changed.
FROM ${BASE} AS requirements
WORKDIR /requirements
COPY pyproject.toml Dockerfiles/requirements.py ./
RUN python3 requirements.py orchestrator < pyproject.toml > requirements.txt

FROM ${BASE} AS build
# pip's own variables, for a mirror of PyPI and for the authority that signs it.
ARG PIP_INDEX_URL
ARG PIP_CERT
WORKDIR /build
RUN python3 -m venv /opt/homepage
COPY --from=requirements /requirements/requirements.txt ./
RUN /opt/homepage/bin/pip install --no-cache-dir --requirement requirements.txt
COPY . .
RUN /opt/homepage/bin/pip install --no-cache-dir --no-deps . \
    && /opt/homepage/bin/pip uninstall --yes pip setuptools

FROM ${BASE}
RUN useradd --uid 10001 --user-group --home-dir /tmp --no-create-home --shell /usr/sbin/nologin homepage
COPY --from=build /opt/homepage /opt/homepage
# Compiles what it imports of Python's own library, which official images bring uncompiled and a read-only root keeps so;
# and fails if something is missing.
RUN /opt/homepage/bin/python -c "import services.orchestrator.service"
ENV PATH=/opt/homepage/bin:$PATH \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONFAULTHANDLER=1 \
    PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1 \
    HOMEPAGE_ORCHESTRATOR_LISTEN=0.0.0.0:50051 \
    HOMEPAGE_ORCHESTRATOR_ADMIN_LISTEN=0.0.0.0:50061 \
    HOMEPAGE_ORCHESTRATOR_METRICS_LISTEN=0.0.0.0:9461
EXPOSE 50051 50061 9461
USER 10001:10001
ENTRYPOINT ["python", "-m", "services.orchestrator"]
ARG VERSION
ARG REVISION
LABEL org.opencontainers.image.title="homepage-orchestrator" \
      org.opencontainers.image.description="Front door of the homepage recommender: pages and feedback" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
