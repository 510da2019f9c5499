# The retrieval service: the content library in SQLite under /var/lib/homepage, and the index over it.
#
#     docker build --file Dockerfiles/retrieval.Dockerfile --tag homepage-retrieval .
#     docker run --publish 50053:50053 --volume retrieval:/var/lib/homepage \
#         --env HOMEPAGE_RETRIEVAL_PROFILE_ADDRESS=profile:50052 \
#         --env HOMEPAGE_RETRIEVAL_RANKER_ADDRESS=ranker:50054 homepage-retrieval
#
# BASE: a Debian with Python 3.11 or newer, its venv and, for hnswlib, its headers.
ARG BASE=python:3.11-slim

# What is to be installed, apart: dependencies are installed anew only when these lines have changed.
FROM ${BASE} AS requirements
WORKDIR /requirements
COPY pyproject.toml Dockerfiles/requirements.py ./
RUN python3 requirements.py retrieval < pyproject.toml > requirements.txt

FROM ${BASE} AS build
# pip's own variables, for a mirror of PyPI and for the authority that signs it.
ARG PIP_INDEX_URL
ARG PIP_CERT
# The least processor that hnswlib is compiled for; by itself it takes the one that it is built on, and would die on
# another. On ARM: armv8-a.
ARG MARCH=x86-64-v3
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
WORKDIR /build
RUN python3 -m venv /opt/homepage
COPY --from=requirements /requirements/requirements.txt ./
RUN HNSWLIB_NO_NATIVE=1 CFLAGS="-march=${MARCH}" CXXFLAGS="-march=${MARCH}" \
    /opt/homepage/bin/pip install --no-cache-dir --requirement requirements.txt
COPY . .
RUN /opt/homepage/bin/pip install --no-cache-dir --no-deps . \
    && /opt/homepage/bin/pip uninstall --yes pip setuptools

FROM ${BASE}
RUN useradd --uid 10001 --user-group --home-dir /tmp --no-create-home --shell /usr/sbin/nologin homepage \
    && install --directory --owner=10001 --group=10001 /var/lib/homepage
COPY --from=build /opt/homepage /opt/homepage
# Compiles what it imports of Python's own library, which official images bring uncompiled and a read-only root keeps so;
# and fails if something is missing.
RUN /opt/homepage/bin/python -c "import services.retrieval.service"
ENV PATH=/opt/homepage/bin:$PATH \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONFAULTHANDLER=1 \
    PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1 \
    HOMEPAGE_RETRIEVAL_LISTEN=0.0.0.0:50053 \
    HOMEPAGE_RETRIEVAL_ADMIN_LISTEN=0.0.0.0:50063 \
    HOMEPAGE_RETRIEVAL_METRICS_LISTEN=0.0.0.0:9463 \
    HOMEPAGE_RETRIEVAL_DATABASE=/var/lib/homepage/retrieval.db
EXPOSE 50053 50063 9463
VOLUME /var/lib/homepage
USER 10001:10001
ENTRYPOINT ["python", "-m", "services.retrieval"]
ARG VERSION
ARG REVISION
LABEL org.opencontainers.image.title="homepage-retrieval" \
      org.opencontainers.image.description="Content library and candidates of the homepage recommender" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
