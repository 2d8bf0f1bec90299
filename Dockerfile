# Ponte and what it needs, for nobody but Ponte's own user; see docs/scaling.md and compose.yaml.
FROM python:3.13-slim AS build
WORKDIR /src
COPY requirements-postgres.txt requirements-build.txt pyproject.toml README.md LICENSE ./
RUN python -m venv /opt/ponte \
    && /opt/ponte/bin/pip install --no-cache-dir --require-hashes -r requirements-postgres.txt -r requirements-build.txt
COPY bot bot
COPY adapters adapters
COPY core core
RUN /opt/ponte/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.13-slim
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
VOLUME /home/ponte/home
EXPOSE 8080
HEALTHCHECK --start-period=20s CMD ["python", "-c", "import socket; s = socket.socket(socket.AF_UNIX); s.connect('/home/ponte/home/ponte.sock')"]
ENTRYPOINT ["ponte"]
CMD ["run"]
