"""Networks on the Hugging Face Hub, or a server like it ($HF_ENDPOINT): hf://USER/NAME or hf://USER/NAME@REVISION."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scalegan.errors import UserError

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
_SCHEME = re.compile("hf:/{1,2}")       # a Path turns two slashes into one


def located(path: str | Path) -> str | Path:
    """`path` itself; for a folder that `scalegan push` wrote, its file of weights, which is an export; for
    hf://USER/NAME, that file downloaded to huggingface_hub's cache.

    No other file is fetched, and nothing that could hold code.

    Raises:
        UserError: if there is no such network, or it cannot be fetched, or huggingface_hub is not installed.
    """
    scheme = _SCHEME.match(str(path))
    if scheme is None:
        return Path(path) / WEIGHTS if (Path(path) / WEIGHTS).is_file() else path
    repository, _, revision = str(path)[scheme.end():].partition("@")
    named = f"hf://{repository}{f'@{revision}' if revision else ''}"
    with _plainly(named):
        from huggingface_hub import hf_hub_download

        return Path(hf_hub_download(repository, WEIGHTS, revision=revision or None))


def upload(folder: Path, repository: str, private: bool) -> str:
    """Uploads a folder's files as one commit, to a repository that is made if need be; returns its address.

    Raises:
        UserError: as `located`, and if the user may not write there.
    """
    with _plainly(f"hf://{repository}"):
        from huggingface_hub import HfApi

        api = HfApi(library_name="scalegan")
        made = api.create_repo(repository, private=private, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=folder, commit_message="Networks, by scalegan push")
        return str(made)


def card_of(repository: str) -> str:
    """The repository's model card; empty if it has none, or does not exist yet."""
    with _plainly(f"hf://{repository}"):
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError, RepositoryNotFoundError

        try:
            return Path(hf_hub_download(repository, CARD)).read_text()
        except LocalEntryNotFoundError:
            raise
        except (EntryNotFoundError, RepositoryNotFoundError):
            return ""


@contextmanager
def _plainly(named: str) -> Iterator[None]:
    """Turns what huggingface_hub raises into one line."""
    try:
        from huggingface_hub import errors
        from huggingface_hub.utils import logging

        logging.set_verbosity_error()       # it warns of every attempt to connect
    except ImportError:
        raise UserError(f"{named} needs huggingface_hub: pip install 'scalegan[hub]'") from None
    log_in = "; log in with `hf auth login`, or set HF_TOKEN"
    try:
        yield
    except errors.HFValidationError as error:
        raise UserError(f"{named} is not of the form hf://USER/NAME or hf://USER/NAME@REVISION") from error
    except errors.GatedRepoError as error:
        raise UserError(f"{named} asks you to accept its terms on its page first{log_in}") from error
    except errors.RepositoryNotFoundError as error:
        raise UserError(f"{named}: there is no such repository, or it is private{log_in}") from error
    except errors.RevisionNotFoundError as error:
        raise UserError(f"{named}: the repository has no such revision; leave out @... for the newest") from error
    except (errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError) as error:
        raise UserError(f"{named} is not in this machine's cache, and the hub cannot be reached (HF_HUB_OFFLINE "
                        "is set, or there is no network)") from error
    except errors.EntryNotFoundError as error:
        raise UserError(f"{named} has no {WEIGHTS} that `scalegan push` wrote") from error
    except errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        raise UserError(f"{named}: the hub refused ({' '.join(str(error).split())[:300]})"
                        f"{log_in if status in (401, 403) else ''}") from error
    except (OSError, errors.HTTPError) as error:    # of the network, as requests or httpx reports it, or of the disk
        raise UserError(f"{named} could not be reached, or not be stored ({' '.join(str(error).split())[:300]})"
                        ) from error
