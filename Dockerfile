# For an NVIDIA GPU: docker build --build-arg BASE=nvidia/cuda:13.0.1-base-ubuntu24.04 -t promptengine .
ARG BASE=python:3.12-slim-bookworm
FROM ${BASE}

# CUDA's images have no Python, and which version Debian or Ubuntu has is theirs to say.
# hadolint ignore=DL3008
RUN command -v python3 || { \
        apt-get update \
        && apt-get install -y --no-install-recommends python3 python3-venv \
        && rm -rf /var/lib/apt/lists/*; \
    }

WORKDIR /srv/promptengine
COPY pyproject.toml README.md LICENSE ./
COPY promptengine promptengine
RUN python3 -m venv .venv && .venv/bin/pip install --no-cache-dir -q ".[server]"

COPY models models
RUN useradd --uid 10001 --create-home engine && mkdir outputs training && chown -R engine models outputs training
USER 10001
ENV PATH=/srv/promptengine/.venv/bin:$PATH
VOLUME ["/srv/promptengine/models", "/srv/promptengine/outputs", "/srv/promptengine/training"]
EXPOSE 7860

# Reached through the ports that whoever starts it publishes, and through no others.
ENTRYPOINT ["promptengine"]
CMD ["serve", "--host", "0.0.0.0"]
