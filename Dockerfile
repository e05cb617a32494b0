# riskgate in a container. Two stages: what builds the wheel does not ship.
# Pin both FROM lines by digest in your own registry; a tag can move.

FROM python:3.13-slim AS build
WORKDIR /src
RUN apt-get update \
 && apt-get install --yes --no-install-recommends gcc libc6-dev \
 && rm -rf /var/lib/apt/lists/*
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY proxy ./proxy
COPY rules ./rules
# The order's path is compiled ahead of time. The compiler stays in this stage.
RUN python -m venv /opt/riskgate \
 && HATCH_BUILD_HOOK_ENABLE_CUSTOM=true /opt/riskgate/bin/pip install --no-cache-dir --no-compile '.[postgres,redis,speed]' \
 && /opt/riskgate/bin/python -m compileall -q /opt/riskgate/lib

FROM python:3.13-slim
LABEL org.opencontainers.image.title="riskgate" \
      org.opencontainers.image.description="A sidecar proxy that makes risk limits unavoidable for exchange APIs" \
      org.opencontainers.image.licenses="Apache-2.0"

# PYTHONSAFEPATH: the working folder never provides a package, so nobody's `rules` can stand in for ours.
# No bytecode is written, so the root file system can be read-only; /data is the one place that is written to.
ENV PYTHONSAFEPATH=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PATH=/opt/riskgate/bin:$PATH \
    RISKGATE_CONFIG=/etc/riskgate/riskgate.yaml \
    RISKGATE_DATA_DIR=/data

COPY --from=build /opt/riskgate /opt/riskgate
# A number, not a name: a cluster can check that it is not root without reading /etc/passwd.
RUN mkdir -m 0700 /data && chown 65532:65532 /data
VOLUME /data
WORKDIR /data
USER 65532:65532

EXPOSE 8080 8099
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 CMD ["riskgate", "health"]
ENTRYPOINT ["riskgate"]
CMD ["run"]
