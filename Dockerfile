# unveil serve for CPUs, in two stages: the second holds no compiler, and its user is not root.
#
#   docker build -t unveil .
#   docker run --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges \
#       -p 127.0.0.1:7860:7860 -e UNVEIL_TOKEN=$(openssl rand -hex 16) unveil
#
# Photos lie in /tmp while they are kept: give it as much room as results may take (8 GB),
# or a volume in its place.
FROM python:3.13-slim AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends cmake g++ ninja-build \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY pyproject.toml constraints.txt CMakeLists.txt README.md LICENSE ./
COPY native native
COPY src src
RUN python -m venv /opt/unveil \
    && /opt/unveil/bin/pip install --no-cache-dir --constraint constraints.txt \
        --extra-index-url https://download.pytorch.org/whl/cpu ".[serve,heic]"

FROM python:3.13-slim
# Numbers, so that Kubernetes can tell that the user is not root.
RUN groupadd --gid 10001 unveil && useradd --uid 10001 --gid 10001 --no-create-home unveil
COPY --from=build /opt/unveil /opt/unveil
ENV PATH=/opt/unveil/bin:$PATH HOME=/tmp PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["python", "-c", \
    "import urllib.request as r; r.urlopen('http://127.0.0.1:7860/healthz', timeout=4)"]
ENTRYPOINT ["unveil", "serve", "--host", "0.0.0.0"]
