# The profile service: user profiles and the event log, in SQLite under /var/lib/homepage.
#
#     docker build --file Dockerfiles/profile.Dockerfile --tag homepage-profile .
#     docker run --publish 50052:50052 --volume profile:/var/lib/homepage homepage-profile
#
# BASE: a Debian with Python 3.11 or newer and its venv.
ARG BASE=python:3.11-slim

# What is to be installed, apart: dependencies are installed anew only when these lines have changed.
FROM ${BASE} AS requirements
WORKDIR /requirements
COPY pyproject.toml Dockerfiles/requirements.py ./
RUN python3 requirements.py profile < pyproject.toml > requirements.txt

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
RUN useradd --uid 10001 --user-group --home-dir /tmp --no-create-home --shell /usr/sbin/nologin homepage \
    && install --directory --owner=10001 --group=10001 /var/lib/homepage
COPY --from=build /opt/homepage /opt/homepage
# Compiles what it imports of Python's own library, which official images bring uncompiled and a read-only root keeps so;
# and fails if something is missing.
RUN /opt/homepage/bin/python -c "import services.profile.service"
ENV PATH=/opt/homepage/bin:$PATH \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONFAULTHANDLER=1 \
    PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1 \
    HOMEPAGE_PROFILE_LISTEN=0.0.0.0:50052 \
    HOMEPAGE_PROFILE_ADMIN_LISTEN=0.0.0.0:50062 \
    HOMEPAGE_PROFILE_METRICS_LISTEN=0.0.0.0:9462 \
    HOMEPAGE_PROFILE_DATABASE=/var/lib/homepage/profile.db
EXPOSE 50052 50062 9462
VOLUME /var/lib/homepage
USER 10001:10001
ENTRYPOINT ["python", "-m", "services.profile"]
ARG VERSION
ARG REVISION
LABEL org.opencontainers.image.title="homepage-profile" \
      org.opencontainers.image.description="User profiles and the event log of the homepage recommender" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
