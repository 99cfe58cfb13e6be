"""What can be found in a models folder, as objects: kinds of networks, and checkpoints and VAEs.

All that differs between kinds stands in their objects; nothing here loads torch.
"""

from promptengine.kinds.blocks import AskedBlocks, BlockWeights, PresetTable
from promptengine.kinds.checkpoints import CHECKPOINT, VAE
from promptengine.kinds.embedding import EMBEDDING
from promptengine.kinds.hypernetwork import HYPERNETWORK
from promptengine.kinds.kind import (
    FileSummary,
    InfotextLabels,
    InspectedFile,
    ListedReport,
    ModelKind,
    NetworkKind,
    OldUse,
)
from promptengine.kinds.lora import LORA
from promptengine.kinds.table import (
    NETWORK_KINDS,
    find_kind,
    kind_of_word,
    model_kinds,
    tag_kinds,
    tag_words,
)
from promptengine.kinds.tag import Curve, ReadCurve, TagProblem, TagReading, TagSyntax, plain_tag
from promptengine.kinds.upscaler import UPSCALER

__all__ = [
    "CHECKPOINT",
    "EMBEDDING",
    "HYPERNETWORK",
    "LORA",
    "NETWORK_KINDS",
    "UPSCALER",
    "VAE",
    "AskedBlocks",
    "BlockWeights",
    "Curve",
    "FileSummary",
    "InfotextLabels",
    "InspectedFile",
    "ListedReport",
    "ModelKind",
    "NetworkKind",
    "OldUse",
    "PresetTable",
    "ReadCurve",
    "TagProblem",
    "TagReading",
    "TagSyntax",
    "find_kind",
    "kind_of_word",
    "model_kinds",
    "plain_tag",
    "tag_kinds",
    "tag_words",
]
