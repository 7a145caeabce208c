# ScaleGAN in a container. For CPUs:
#   docker build -t scalegan .
# For NVIDIA GPUs, with CUDA's libraries from PyTorch's wheels (the host needs only the driver and its container toolkit):
#   docker build -t scalegan:cuda --build-arg BASE=nvidia/cuda:12.8.1-base-ubuntu24.04 --build-arg TORCH_INDEX= .
# Other extras: --build-arg EXTRAS=metrics,video,deepspeed (docs/install.md).
ARG BASE=debian:trixie-slim
FROM ${BASE}

# Python 3.12 or 3.13, as the base has it. DeepSpeed compiles with the compiler and the headers.
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
       python3 python3-venv python3-dev g++ ca-certificates \
    && rm -rf /var/lib/apt/lists/*

ENV VIRTUAL_ENV=/opt/scalegan PATH=/opt/scalegan/bin:$PATH PIP_NO_CACHE_DIR=1 PYTHONUNBUFFERED=1
RUN python3 -m venv "$VIRTUAL_ENV"

# PyTorch first, in a layer of its own: it is most of the image and seldom changes. PyPI's, where the index is empty, is
# built for CUDA.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY constraints.txt /src/
RUN pip install --constraint /src/constraints.txt ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch torchvision

ARG EXTRAS=quickstart,metrics,video,hub
COPY setup.py pyproject.toml README.md LICENSE MANIFEST.in /src/
COPY scalegan /src/scalegan
COPY recipes /src/recipes
COPY slurm /src/slurm
RUN pip install --constraint /src/constraints.txt "/src[$EXTRAS]" && scalegan --version

# Runs, data and caches are in the folder that is mounted here.
WORKDIR /work
ENV SCALEGAN_CACHE=/work/.cache/scalegan HF_HOME=/work/.cache/huggingface
ENTRYPOINT ["scalegan"]
CMD ["--help"]
