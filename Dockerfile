# Ponte and what it needs, for nobody but Ponte's own user: docs/guides/install.md, compose.yaml,
# compose.sqlite.yaml. More optional parts: --build-arg REQUIREMENTS="requirements/….txt …".
# Pinned by the digest of its index of all architectures (Python 3.13.16 of 2026-10-09). To take a
# newer one: docker buildx imagetools inspect python:3.13-slim, and write its digest twice.
FROM python:3.13-slim@sha256:70729b46c69b4f1e97c4822c1af3df53a1476cf5ddc6c087c0c10bc3a5678c2f AS build
ARG REQUIREMENTS="requirements/postgres.txt requirements/mcp.txt"
WORKDIR /src
COPY requirements requirements
COPY pyproject.toml README.md LICENSE ponte.toml.example ./
RUN python -m venv /opt/ponte \
    && for pins in requirements/build.txt $REQUIREMENTS; do \
        /opt/ponte/bin/pip install --no-cache-dir --require-hashes -r "$pins" || exit 1; \
    done
COPY bot bot
COPY adapters adapters
COPY core core
COPY docs/chat docs/chat
COPY docs/explanation/privacy.md docs/explanation/privacy.md
RUN /opt/ponte/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.13-slim@sha256:70729b46c69b4f1e97c4822c1af3df53a1476cf5ddc6c087c0c10bc3a5678c2f
# bubblewrap is the stronger sandbox for Python; where the engine forbids it, Landlock is used.
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends bubblewrap \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 ponte \
    && install -d -o ponte -g ponte -m 700 /home/ponte/home
COPY --from=build /opt/ponte /opt/ponte
USER ponte
WORKDIR /home/ponte
ENV PATH=/opt/ponte/bin:$PATH PONTE_HOME=/home/ponte/home PONTE_WEB_HOST=0.0.0.0
EXPOSE 8080
# Over the home's socket, which a worker has too: whether the process still answers.
HEALTHCHECK --start-period=20s --timeout=5s CMD ["python", "-c", "import socket; s = socket.socket(socket.AF_UNIX); s.settimeout(4); s.connect('/home/ponte/home/ponte.sock'); s.sendall(b'GET /healthz HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n'); raise SystemExit(b' 200 ' not in s.recv(64))"]
ENTRYPOINT ["ponte"]
CMD ["run"]
