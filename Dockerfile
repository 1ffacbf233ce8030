# syntax=docker/dockerfile:1
#
# The image of a node: one program, on a base that has a C library and nothing else to run.
#
#   docker build --build-arg REVISION="$(git rev-parse HEAD)" --tag parlance:0.1.0 .
#
# Pages and migrations are in the program, so the image holds nothing else. It needs DATABASE_URL
# and JWT_SECRET (or DATABASE_URL_FILE, JWT_SECRET_FILE). Without them it ends at once and says
# which is missing: there is no private PostgreSQL in a container, and a signing key made there
# would be lost with it. It writes nothing to its file system, which may be read-only. It listens on
# 8080, and on 9464 for metrics. SIGTERM drains it, which takes at most PARLANCE_SHUTDOWN_TIMEOUT
# (30 s), so give it a little longer before SIGKILL. docs/operations.md has the rest.

ARG RUST_VERSION=1.95.0
# One Debian for both: the program is linked with the C library of the first and runs on that of the
# second.
ARG DEBIAN_VERSION=12
ARG DEBIAN_NAME=bookworm
# distroless has no version tags; for a build that is the same tomorrow, give it by digest:
# …@sha256:….
ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian${DEBIAN_VERSION}:nonroot

# ---
FROM rust:${RUST_VERSION}-slim-${DEBIAN_NAME} AS build
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /build
ENV CARGO_TERM_COLOR=never

# The dependencies first, with empty sources. This layer stays until a Cargo.toml or Cargo.lock
# changes. cargo-chef does the same for workspaces of many packages; for three it would only be one
# more tool to build and to trust. A cache mount would be lost with the builder, but a layer goes to
# a registry with `--cache-to`. Cargo needs the files of the load tool and the benchmarks to exist,
# though it builds neither.
COPY Cargo.toml Cargo.lock build.rs ./
COPY crates/embedded-postgres/Cargo.toml crates/embedded-postgres/
COPY crates/parlance-load/Cargo.toml crates/parlance-load/
RUN mkdir -p src crates/embedded-postgres/src crates/parlance-load/src benches migrations \
    && echo 'fn main() {}' | tee src/main.rs >crates/parlance-load/src/main.rs \
    && touch src/lib.rs crates/embedded-postgres/src/lib.rs \
    && sed -n '/^\[\[bench\]\]/{n;s|^name = "\(.*\)"|benches/\1.rs|p;}' Cargo.toml | xargs touch \
    && cargo build --release --locked --bin parlance

# The fingerprints are removed, because cargo compares times: COPY keeps those of the files, which
# are older than the build.
COPY src src
COPY crates crates
COPY migrations migrations
COPY static static
RUN rm -rf target/release/.fingerprint/{parlance,embedded-postgres}-* \
    && cargo build --release --locked --bin parlance \
    && objcopy --strip-debug target/release/parlance /parlance \
    && /parlance --version

# ---
# distroless and not a slim Debian: an intruder finds no shell, no package manager and no setuid
# program, and there are fewer packages to update. `parlance health` takes the place of curl.
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

# DATA_DIR is not in the image: nothing is written there in a container.
ENV BIND=0.0.0.0:8080 \
    METRICS_BIND=0.0.0.0:9464 \
    DATA_DIR=/var/lib/parlance \
    LOG_FORMAT=json

EXPOSE 8080 9464
# By number, so that an orchestrator can see that it is not root.
USER 65532:65532
STOPSIGNAL SIGTERM

# It checks whether the node lives, not whether it is ready. Some orchestrators restart what is
# unhealthy, and a node whose database is away should go on. `parlance health --ready` checks the
# other.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --start-interval=1s --retries=3 \
    CMD ["/usr/local/bin/parlance", "health"]

ENTRYPOINT ["/usr/local/bin/parlance"]
CMD ["serve"]
