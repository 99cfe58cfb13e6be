"""What a kind of model files is: the types of the objects."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from promptengine.kinds.tag import TagSyntax

__all__ = [
    "FileSummary",
    "InfotextLabels",
    "InspectedFile",
    "ListedReport",
    "ModelKind",
    "NetworkKind",
    "OldUse",
]

_DIGITS = 10


def _any_stem(stem: str) -> bool:
    return True


def _no_aliases(path: Path) -> tuple[str, ...]:
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelKind:
    """A kind of files in a models folder.

    Attributes:
        name: As APIs and lists spell it.
        noun: As messages do.
        plural: Likewise, of several.
        folders: Where they lie below the models folder, first the ones that win a clash of names.
        suffixes: Of the files, in lower case, with their dots.
        accepts: Takes a file's stem, and returns whether such a file is of this kind.
        aliases: Takes a file's path, and returns other names that the file gives itself.
        index: Name of a file that makes the folder around it one model; empty where there is none.
        page: What WebUI calls its page of cards; empty where it has none.
        article: Of the noun.
        file_kind: What ``promptengine inspect`` calls it; by default the noun.
        civitai_types: What Civitai calls models of it; none where it has none.
        comfyui_folders: What ComfyUI calls folders of it, in its ``extra_model_paths.yaml``; likewise.
    """

    name: str
    noun: str
    plural: str
    folders: tuple[str, ...]
    suffixes: tuple[str, ...]
    accepts: Callable[[str], bool] = _any_stem
    aliases: Callable[[Path], tuple[str, ...]] = _no_aliases
    index: str = ""
    page: str = ""
    article: str = "a"
    file_kind: str = ""
    civitai_types: tuple[str, ...] = ()
    comfyui_folders: tuple[str, ...] = ()

    @property
    def inspected(self) -> str:
        """What ``promptengine inspect`` calls such a file."""
        return self.file_kind or self.noun


class ListedReport(Protocol):
    """What decides whether and how a network stands in an infotext's list of hashes; see
    :class:`promptengine.NetworkReport`.
    """

    @property
    def applied(self) -> bool:
        """Whether it changed the model."""
        ...

    @property
    def digest(self) -> str | None:
        """SHA-256 of its file in hex."""
        ...

    @property
    def lora_hash(self) -> str | None:
        """WebUI's hash of a LoRA."""
        ...

    @property
    def origin(self) -> str:
        """``prompt`` for a tag."""
        ...


def _applied_digest(report: ListedReport) -> str | None:
    named = report.applied and report.origin == "prompt"
    return report.digest[:_DIGITS] if named and report.digest else None


@dataclass(frozen=True, slots=True)
class InfotextLabels:
    """Under which keys infotexts tell of the networks of a kind; empty ones tell nothing.

    Attributes:
        hashes: Of what was used, ``name: hash, …``.
        skipped: Of what was not, ``name (reason), …``.
        schedule: Of multipliers that changed over the steps.
        objects: Of networks that were in no file.
        listed: The hash under which a network stands in ``hashes``, or None for one that is left out.
        webui: Whether ``hashes`` is WebUI's own key: it stands in front, names networks as their tags do,
            and where a second pass has networks it holds those.
    """

    hashes: str
    skipped: str = ""
    schedule: str = ""
    objects: str = ""
    listed: Callable[[ListedReport], str | None] = _applied_digest
    webui: bool = False

    @property
    def records(self) -> tuple[str, ...]:
        """Keys that say something about an image without asking for anything."""
        return tuple(label for label in (self.hashes, self.schedule) if label)


@dataclass(frozen=True, slots=True)
class OldUse:
    """A network that an infotext names by keys of its own, as programs did before there were tags.

    Attributes:
        key: Of the infotext.
        name: As written.
        digest: As written, or empty.
        multiplier: As it stands in a tag.
        problem: Why it cannot be used; empty where it can.
    """

    key: str
    name: str
    digest: str = ""
    multiplier: str = "1.0"
    problem: str = ""


def _no_old(entries: MutableMapping[str, str]) -> Iterator[OldUse]:
    return iter(())


@dataclass(frozen=True, slots=True)
class FileSummary:
    """What a file holds, for lists.

    Attributes:
        text: In a line.
        facts: The same for programs, by JSON's names.
        problem: Why it cannot be used, or None.
    """

    text: str
    facts: Mapping[str, object] = field(default_factory=dict[str, object])
    problem: str | None = None


def _no_summaries(registry: Any) -> Mapping[Path, FileSummary]:
    return {}


@dataclass(frozen=True, slots=True)
class InspectedFile:
    """What ``promptengine inspect`` has read of a file.

    Attributes:
        path: The file.
        digest: First digits of its SHA-256.
        names: Of its tensors, or the keys of its outermost container.
        shapes: Of its tensors, by name.
        metadata: Text by name.
        is_image: Whether it is an image.
    """

    path: Path
    digest: str
    names: Sequence[object] = ()
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict[str, "tuple[int, ...]"])
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    is_image: bool = False


def _unknown_file(file: InspectedFile) -> bool:
    return False


def _nothing_known(file: InspectedFile) -> Mapping[str, Any]:
    return {}


def _no_digests(path: Path) -> Iterator[str]:
    return iter(())


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkKind(ModelKind):
    """A kind of networks: all that differs between hypernetworks, LoRAs, embeddings and others.

    Knowing it must not load torch: what needs torch is named as a
    :class:`promptengine.plugins.LazyFunction`, or imports it when it is called.

    Attributes:
        tag: How its tag is written; None where prompts use the bare name.
        loader: Takes a :class:`promptengine.networks.loader.NetworkModel` and the bytes that networks may
            take in memory, and returns the :class:`promptengine.networks.loader.NetworkLoader` of that
            model; None where networks act otherwise than by tags.
        per_image: Whether the images of a batch may have different ones. Others change the model, for
            all of a batch.
        regional: Whether one may act in a region of the image alone. Others change the model, for all of the image.
        labels: Its keys in infotexts; by default its name with ``hashes`` and ``skipped`` behind it.
        short_hash: Takes the registry and an entry, and returns the hash that WebUI knows a file by;
            None where that is the file's own.
        file_digests: Takes a path, and yields other hashes that programs have written for such a file.
        civitai: What it is called under ``Hashes``.
        old_uses: Takes the entries of an infotext, removes the keys that programs had for it before
            there were tags, and yields what these name.
        recognize: Whether a file that nothing else knows is of this kind.
        describe: Takes a file, and returns fields of :class:`promptengine.FileReport`; ``notes`` are added
            to those there are.
        summarize: Takes the registry, and returns what each file of this kind holds, by its path.
        needs_summary: Whether a file without a summary is none of this kind, such as a plain image.
    """

    tag: TagSyntax | None = None
    loader: Callable[..., Any] | None = None
    per_image: bool = False
    regional: bool = False
    labels: InfotextLabels | None = None
    short_hash: Callable[[Any, Any], str] | None = None
    file_digests: Callable[[Path], Iterator[str]] = _no_digests
    civitai: tuple[str, ...] = ()
    old_uses: Callable[[MutableMapping[str, str]], Iterator[OldUse]] = _no_old
    recognize: Callable[[InspectedFile], bool] = _unknown_file
    describe: Callable[[InspectedFile], Mapping[str, Any]] = _nothing_known
    summarize: Callable[[Any], Mapping[Path, FileSummary]] = _no_summaries
    needs_summary: bool = False

    @property
    def words(self) -> tuple[str, ...]:
        """What may open its tag."""
        return () if self.tag is None else self.tag.words

    @property
    def infotext(self) -> InfotextLabels:
        """Its keys in infotexts."""
        if self.labels is not None:
            return self.labels
        title = self.name.capitalize()
        return InfotextLabels(f"{title} hashes", f"{title} skipped")
