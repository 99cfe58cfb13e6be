"""Pipelines of diffusers that understand WebUI's prompts."""

from promptengine.pipelines.attaching import Attachment, attach, detach
from promptengine.pipelines.processor import PromptProcessor

__all__ = ["Attachment", "PromptProcessor", "attach", "detach"]
