# syntax=docker/dockerfile:1
#
# The image of a node: one program, on a base that has a C library and nothing else to run.
#
#   docker build --build-arg REVISION="$(git rev-parse HEAD)" --tag parlance:0.1.0 .
#
# Pages and migrations are in the program, so there is nothing beside it. It needs DATABASE_URL and JWT_SECRET (or
# DATABASE_URL_FILE, JWT_SECRET_FILE): a private PostgreSQL is for machines, and a signing key that a container makes for
# itself is gone with it. Without them it ends at once and says which is missing. It writes nothing to its file system,
# so that may be read-only; it listens on 8080, and on 9464 for metrics; SIGTERM drains it, which takes at most
# PARLANCE_SHUTDOWN_TIMEOUT (30 s), so give it a little longer before SIGKILL. docs/operations.md has the rest.

ARG RUST_VERSION=1.95.0
# One Debian for both: the program is linked with the C library of the first and runs on that of the second.
ARG DEBIAN_VERSION=12
ARG DEBIAN_NAME=bookworm
# distroless has no version tags; for a build that is the same tomorrow, give it by digest: …@sha256:….
ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian${DEBIAN_VERSION}:nonroot

# ---
FROM rust:${RUST_VERSION}-slim-${DEBIAN_NAME} AS build
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /build
ENV CARGO_TERM_COLOR=never

# The dependencies first, with empty sources: a layer that stays until a Cargo.toml or Cargo.lock changes. cargo-chef does
# the same for workspaces of many packages. For three it would be a tool to build and to trust, in place of these lines.
# A cache mount would be lost with the builder; a layer goes to a registry with `--cache-to`. Cargo wants the files of the
# load tool and the benchmarks to be there, though it builds neither.
COPY Cargo.toml Cargo.lock build.rs ./
COPY crates/embedded-postgres/Cargo.toml crates/embedded-postgres/
COPY crates/parlance-load/Cargo.toml crates/parlance-load/
RUN mkdir -p src crates/embedded-postgres/src crates/parlance-load/src benches migrations \
    && echo 'fn main() {}' | tee src/main.rs >crates/parlance-load/src/main.rs \
    && touch src/lib.rs crates/embedded-postgres/src/lib.rs \
    && sed -n '/^\[\[bench\]\]/{n;s|^name = "\(.*\)"|benches/\1.rs|p;}' Cargo.toml | xargs touch \
    && cargo build --release --locked --bin parlance

# The fingerprints go, because cargo compares times, and COPY keeps those of the files, which are older than the build.
COPY src src
COPY crates crates
COPY migrations migrations
COPY static static
RUN rm -rf target/release/.fingerprint/{parlance,embedded-postgres}-* \
    && cargo build --release --locked --bin parlance \
    && objcopy --strip-debug target/release/parlance /parlance \
    && /parlance --version

# ---
# distroless rather than a slim Debian: no shell, no package manager and no setuid program for somebody who got in, and
# fewer packages to update. `parlance health` is why no curl is missed.
# hadolint ignore=DL3006
FROM ${RUNTIME_IMAGE} AS runtime

ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Parlance" \
    org.opencontainers.image.description="An actor-based realtime chat server: durable before acknowledged, resume without a cliff" \
    org.opencontainers.image.licenses="GPL-3.0-or-later" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"

COPY --from=build --chown=0:0 --chmod=0755 /parlance /usr/local/bin/parlance
COPY --chown=0:0 --chmod=0644 LICENSE /usr/share/doc/parlance/LICENSE

# DATA_DIR is not in the image: what would be written there is not for a container.
ENV BIND=0.0.0.0:8080 \
    METRICS_BIND=0.0.0.0:9464 \
    DATA_DIR=/var/lib/parlance \
    LOG_FORMAT=json

EXPOSE 8080 9464
# By number, so that whoever starts it can see that it is not root.
USER 65532:65532
STOPSIGNAL SIGTERM

# Whether it lives, and not whether it is ready: some orchestrators restart what is unhealthy, and a node whose database
# is away should not be. `parlance health --ready` is the other question.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --start-interval=1s --retries=3 \
    CMD ["/usr/local/bin/parlance", "health"]

ENTRYPOINT ["/usr/local/bin/parlance"]
CMD ["serve"]
