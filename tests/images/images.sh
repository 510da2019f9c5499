# Sourced by `run` and `pods`: a base image, the four images on top of it, and what both need of podman.
#
# Needs root, podman, buildah, runc, netavark, aardvark-dns and, unless BASE names an image, debootstrap.
# BASE         base image; without it a minimal Debian 12 is made as localhost/homepage-base and kept for next time
# CERTIFICATES folder of certificates that a build trusts, where packages come through a proxy that signs anew
# TORCH_INDEX  where PyTorch is taken from; empty: PyPI, which has it with CUDA
# PYTHON       one with this package and its extra "cli" or more, for the caller of the page
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

export CONTAINERS_CONF="$PWD/tests/images/containers.conf"
SERVICES=(profile retrieval ranker orchestrator)
BASE=${BASE:-localhost/homepage-base}
CERTIFICATES=${CERTIFICATES:-/etc/ssl/certs}
PYTHON=${PYTHON:-.venv/bin/python}

step() { printf '\n== %s (%ss)\n' "$1" "$SECONDS"; }

require() {
  local program
  for program in "$@"; do
    command -v "$program" >/dev/null || { echo "needs $program" >&2; exit 2; }
  done
}

make_base() {
  podman image exists "$BASE" && return
  step "base image $BASE"
  local root
  root=$(mktemp -d)
  # With the headers of Python, as official images have them.
  debootstrap --variant=minbase --include=ca-certificates,libpython3.11-dev,python3-distutils,python3.11-venv bookworm "$root" >"$root.log" 2>&1 ||
    { tail -n 20 "$root.log" >&2; exit 1; }
  rm -rf "$root/var/cache/apt" "$root/var/lib/apt/lists" && mkdir -p "$root/var/lib/apt/lists/partial" "$root/var/cache/apt/archives/partial"
  tar --create --directory "$root" --exclude ./dev --exclude ./proc --exclude ./sys . | podman import --quiet - "$BASE"
  rm -rf "$root" "$root.log"
}

build_images() {
  local service arguments
  for service in "${SERVICES[@]}"; do
    step "image homepage-$service"
    arguments=(--build-arg BASE="$BASE" --build-arg VERSION="$(git describe --always --dirty)" --build-arg REVISION="$(git rev-parse HEAD)")
    [ "$service" != ranker ] || arguments+=(--build-arg TORCH_INDEX="${TORCH_INDEX-}")
    podman build --quiet --format docker --volume "$CERTIFICATES:/etc/ssl/certs:ro" \
      --build-arg PIP_CERT=/etc/ssl/certs/ca-certificates.crt "${arguments[@]}" \
      --file "Dockerfiles/$service.Dockerfile" --tag "localhost/homepage-$service:latest" .
  done
}

make_redis() { # the image that the redis component names, of Debian's Redis, which is the oldest that serves
  local image=$1
  podman image exists "localhost/$image" && return
  step "image $image"
  make_base
  podman build --quiet --tag "localhost/$image" --file - . <<END
FROM $BASE
RUN apt-get update && apt-get install --yes --no-install-recommends redis-server && rm -r /etc/redis
END
}

print_sizes() {
  local of_base service bytes
  of_base=$(podman image inspect --format '{{.Size}}' "$BASE")
  printf '\n%-14s %8s %10s\n' image MB 'over base'
  printf '%-14s %8d\n' base $((of_base / 1000000))
  for service in "${SERVICES[@]}"; do
    bytes=$(podman image inspect --format '{{.Size}}' "localhost/homepage-$service")
    printf '%-14s %8d %10d\n' "$service" $((bytes / 1000000)) $(((bytes - of_base) / 1000000))
  done
}
