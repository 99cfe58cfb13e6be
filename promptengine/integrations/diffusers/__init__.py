"""Pipelines of diffusers that understand WebUI's prompts."""

from promptengine.integrations.diffusers.attach import Attachment, attach, detach
from promptengine.integrations.diffusers.processor import PromptProcessor

__all__ = ["Attachment", "PromptProcessor", "attach", "detach"]
