"""Methods to share a model, as other models have them: `from_pretrained`, `save_pretrained`, `push_to_hub`."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from ..errors import LabError
from ..hub import HUB_ID, MODEL, download, is_hub_id, page, reason
from ..lazy import quick_import
from ..reader import read_json
from .seal import DESCRIPTION

if TYPE_CHECKING:
    from .card import Score


class Shared:
    """What D2VLM has in common with the models of transformers and PEFT."""

    loaded_from: Path | None = None  # the folder of its checkpoint, as long as it was not trained since

    @classmethod
    def from_pretrained(cls, source: str | os.PathLike, *, revision: str | None = None, **settings) -> Self:
        """The checkpoint in a folder, or with a hub id, in evaluation mode; the settings are those of `load`."""
        return _checkpoint().load(source, revision=revision, **settings)

    def save_pretrained(self, folder: str | os.PathLike, scores: Sequence[Score] = (), name: str = "") -> Path:
        """Save a folder that needs nothing of this machine, with a card that others can read.

        Its base is part of it unless that is on the hub. The `scores` are those of benchmarks, and `name` is the hub id
        for the card, if the model will have one.
        """
        folder = _checkpoint().save(self, folder, base=self._base_on_hub())
        card = quick_import(f"{__package__}.card")
        origin = self.loaded_from or folder
        if recipe := card.read_recipe(origin):
            card.write_recipe(folder, recipe)
        card.write_card(folder, origin, scores, name)
        return folder

    def push_to_hub(self, name: str, *, private: bool | None = None, revision: str | None = None,
                    token: str | None = None, message: str = "A checkpoint of D2VLM",
                    scores: Sequence[Score] = ()) -> str:
        """Push that folder to the repository `owner/name`, made if there is none; returns the address of the commit."""
        from huggingface_hub import HfApi

        if not (asked := HUB_ID.fullmatch(name)) or asked[2]:
            raise LabError(f"{name}: not the name of a repository on the hub; it is written as owner/name")
        api = HfApi(token=token)
        try:
            with tempfile.TemporaryDirectory() as place:
                folder = self.save_pretrained(Path(place) / "model", scores, name)
                api.create_repo(name, private=private, exist_ok=True)
                if revision is not None:
                    api.create_branch(name, branch=revision, exist_ok=True)
                # Files that an earlier checkpoint left there would be loaded together with this checkpoint.
                pushed = api.upload_folder(repo_id=name, folder_path=folder, revision=revision, commit_message=message,
                                           delete_patterns=list(MODEL))
                download.cache_clear()  # what was fetched from this repository before is older
                return pushed.commit_url
        except LabError:
            raise
        except Exception as error:
            raise LabError(f"{name}: could not be pushed to {page(name)} ({reason(error)})") from None

    def _base_on_hub(self) -> str:
        """The base of the checkpoint from which this model was loaded, if others can fetch it; empty: save it, too."""
        if self.loaded_from is None or not (self.loaded_from / DESCRIPTION).is_file():
            return ""
        description = read_json(self.loaded_from / DESCRIPTION, dict)
        adapter = quick_import(f"{__package__}.description").describe_adapter(self)
        same = (adapter is None) == (description["adapter"] is None)
        return description["base"] if same and is_hub_id(description["base"]) else ""


def _checkpoint():
    """Imported when it is used, because it imports the model that has these methods."""
    return quick_import(f"{__package__}.checkpoint")
